//! Suspended messages, which wait for a ticket or until their time is over.

use std::collections::{BTreeMap, BTreeSet};

use crate::client_network::ClientNetwork;
use crate::clock::Millis;
use crate::seam::{StreamId, Ticket, Wait, WaitKind, Wakeup};

/// The suspended messages of one worker, at most one for each stream.
#[derive(Debug, Default)]
pub struct Suspended {
    places: BTreeMap<StreamId, Place>,
    by_ticket: BTreeMap<Ticket, Vec<StreamId>>,
    by_deadline: BTreeSet<(Millis, StreamId)>,
    /// How many messages of a kind and source there are; none is absent.
    by_source: BTreeMap<(WaitKind, ClientNetwork), usize>,
}

#[derive(Debug)]
struct Place {
    wait: Wait,
    origin: ClientNetwork,
    /// The deadline, of the monotonic clock.
    until: Millis,
}

impl Suspended {
    /// Whether a message of this kind and source may be suspended.
    pub fn has_place(&self, kind: WaitKind, origin: impl FnOnce() -> ClientNetwork) -> bool {
        let of_kind = self.by_source.iter().filter(|((own, _), _)| *own == kind);
        let taken = of_kind.fold(0_usize, |taken, (_, count)| taken.saturating_add(*count));
        kind.has_place(taken, || {
            self.by_source.get(&(kind, origin())).copied().unwrap_or_default()
        })
    }

    /// Whether no message is suspended.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The stream whose message waits for a ticket; one of them if there are several.
    pub fn waiting_for(&self, ticket: Ticket) -> Option<StreamId> {
        self.by_ticket.get(&ticket)?.first().copied()
    }

    /// Suspends a message until a time of the monotonic clock; `false` if there is no place.
    pub fn hold(&mut self, stream: StreamId, wait: Wait, origin: ClientNetwork, until: Millis) -> bool {
        if !self.has_place(wait.kind, || origin) {
            return false;
        }
        self.leave(stream);
        for ticket in &wait.tickets {
            self.by_ticket.entry(*ticket).or_default().push(stream);
        }
        self.by_deadline.insert((until, stream));
        let count = self.by_source.entry((wait.kind, origin)).or_default();
        *count = count.saturating_add(1);
        self.places.insert(stream, Place { wait, origin, until });
        true
    }

    /// Removes a message, which continues or whose client has disconnected.
    pub fn leave(&mut self, stream: StreamId) {
        let Some(place) = self.places.remove(&stream) else {
            return;
        };
        self.by_deadline.remove(&(place.until, stream));
        let source = (place.wait.kind, place.origin);
        if let Some(count) = self.by_source.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
        for ticket in &place.wait.tickets {
            if let Some(holders) = self.by_ticket.get_mut(ticket) {
                holders.retain(|holder| *holder != stream);
                if holders.is_empty() {
                    self.by_ticket.remove(ticket);
                }
            }
        }
    }

    /// Takes the messages with one of these tickets, in the order of the tickets, and those whose time is over.
    pub fn due(&mut self, tickets: Vec<Ticket>, now: Millis) -> Vec<(StreamId, Wakeup)> {
        let mut due = Vec::new();
        for ticket in tickets {
            for stream in self.by_ticket.get(&ticket).cloned().unwrap_or_default() {
                due.push((stream, Wakeup::Due));
                self.leave(stream);
            }
        }
        while let Some(&(until, stream)) = self.by_deadline.first()
            && until <= now
        {
            due.push((stream, Wakeup::TimeOver));
            self.leave(stream);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::Wakes;

    fn wait(tickets: &[Ticket]) -> Wait {
        Wait {
            kind: WaitKind::Limit,
            tickets: tickets.into(),
            until: None,
        }
    }

    #[test]
    fn only_those_are_woken_up_whose_ticket_is_due_or_whose_time_is_over() {
        let wakes = Wakes::default();
        let [one, other] = [wakes.ticket(), wakes.ticket()];
        let mut suspended = Suspended::default();
        let [a, b, c, d] = [1, 2, 3, 4].map(StreamId);
        let nowhere = ClientNetwork::from(None);
        for (stream, tickets, until) in [
            (a, &[one][..], 10),
            (b, &[one, other], 20),
            (c, &[other], 5),
            (d, &[], 20),
        ] {
            assert!(suspended.hold(stream, wait(tickets), nowhere, Millis::new(until)));
        }
        suspended.leave(c);
        let mut due = |tickets: &[Ticket], now| suspended.due(tickets.into(), Millis::new(now));
        assert_eq!(due(&[other], 9), [(b, Wakeup::Due)]);
        assert_eq!(due(&[other], 9), []);
        assert_eq!(due(&[], 10), [(a, Wakeup::TimeOver)]);
        assert_eq!(due(&[one], 30), [(d, Wakeup::TimeOver)]);
        assert!(suspended.is_empty() && suspended.by_ticket.is_empty() && suspended.by_deadline.is_empty());
        assert!(suspended.by_source.is_empty());
    }

    #[test]
    fn a_source_has_its_share_of_the_places() {
        let mut suspended = Suspended::default();
        let until = Millis::new(10);
        let origin = |last: u8| ClientNetwork::from(Some([192, 0, 2, last].into()));
        let mut held = 0;
        for number in 0..200 {
            held += u32::from(suspended.hold(StreamId(number), wait(&[]), origin(1), until));
        }
        assert_eq!(held, 64);
        assert!(suspended.hold(StreamId(1000), wait(&[]), origin(2), until));
    }
}
