//! The picture of docs/LIMITS.md: how many requests were admitted by when.

use std::fmt::Write as _;
use std::fs;

use tollgate_e2e::case::repository;

/// One algorithm.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// Milliseconds since the beginning.
    pub(crate) admitted: Vec<u64>,
}

/// Writes `docs/limits.svg`. The beginning is half a window before an edge.
pub(crate) fn draw(lines: &[Line], window: u64, limit: u64) {
    let end = 5 * window / 2;
    let most = lines.iter().map(|line| line.admitted.len()).max().unwrap_or(1).max(1) as f64;
    let x = |at: u64| LEFT + at as f64 / end as f64 * WIDTH;
    let y = |count: f64| TOP + HEIGHT - count / most * HEIGHT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        LEFT + WIDTH + 130.0,
        TOP + HEIGHT + 40.0
    );
    for edge in (0..)
        .map(|number| window / 2 + number * window)
        .take_while(|&edge| edge < end)
    {
        let x = x(edge);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#bbb\" stroke-dasharray=\"4 4\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">a window ends</text>",
            TOP + HEIGHT,
            TOP + HEIGHT + 16.0
        );
    }
    for count in (0..=most as u64).step_by(limit.max(1) as usize) {
        let y = y(count as f64);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"#eee\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#666\">{count}</text>",
            LEFT + WIDTH,
            LEFT - 6.0,
            y + 4.0
        );
    }
    let mut labels: Vec<f64> = Vec::new();
    for (line, colour) in lines.iter().zip(COLOURS) {
        let mut points = format!("{:.1},{:.1}", x(0), y(0.0));
        for (place, &at) in line.admitted.iter().enumerate() {
            let _ = write!(
                points,
                " {:.1},{:.1} {:.1},{:.1}",
                x(at),
                y(place as f64),
                x(at),
                y(place as f64 + 1.0)
            );
        }
        let last = line.admitted.len() as f64;
        let _ = write!(points, " {:.1},{:.1}", x(end), y(last));
        let mut label = y(last) + 4.0;
        while labels.iter().any(|other| (other - label).abs() < 14.0) {
            label += 14.0;
        }
        labels.push(label);
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
            x(end) + 6.0,
            label,
            line.name
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"16\">Admitted requests, limit {limit} in {} s, sent {} in {} s</text>\n</svg>",
        window / 1000,
        10 * limit,
        window / 1000
    );
    let path = repository().join("docs/limits.svg");
    fs::write(&path, svg).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

const LEFT: f64 = 50.0;
const TOP: f64 = 30.0;
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const COLOURS: [&str; 3] = ["#c0392b", "#2471a3", "#1e8449"];
