//! What becomes of a response: the upstream's own, or what stands in for it.

use super::{Early, Exchange};
use crate::body::{Chunk, Direction};
use crate::denial::{Denial, DenialKind};
use crate::effect::{Effect, applied};
use crate::headers::Headers;
use crate::policy::fallback::{Fate, Response};
use crate::world::World;

impl Exchange {
    pub(super) fn on_response(
        &mut self,
        headers: &Headers,
        may_wait: bool,
        has_body: bool,
        world: &dyn World,
    ) -> Vec<Effect> {
        let Some(passed) = &mut self.passed else {
            return Vec::new();
        };
        let fate = passed.stand_in.as_mut();
        match fate.map(|stand_in| stand_in.judge(headers, has_body, may_wait, world)) {
            None | Some(Fate::Passes) => self.pass_response(headers, has_body),
            Some(Fate::IsKept(recording)) => {
                passed.recording = Some(recording);
                self.pass_response(headers, has_body)
            }
            Some(Fate::Waits) => vec![Effect::Wait],
            Some(Fate::IsLost(count)) => {
                let is_early = passed.early.is_some();
                let mut effects = vec![Effect::Count(count)];
                effects.extend(self.pass_response(headers, has_body));
                if is_early && self.watches(Direction::Response) {
                    let denial = Denial::new(DenialKind::UpstreamBodyUnusable, "body_came_early");
                    return self.refuse_late(Direction::Response, denial);
                }
                effects
            }
            Some(Fate::IsReplaced(response, count)) => {
                let mut effects = vec![Effect::Count(count)];
                effects.extend(self.replace_response(headers, response, has_body, world));
                effects
            }
        }
    }

    /// A response that does not come from the upstream changes like one that does.
    fn replace_response(
        &mut self,
        actual: &Headers,
        response: Response,
        has_body: bool,
        world: &dyn World,
    ) -> Vec<Effect> {
        let mut effects = self.pass_response(&response.headers, !response.body.is_empty());
        let mut body = response.body;
        if self.holds(Direction::Response) {
            let chunk = Chunk {
                size: body.len(),
                ends: true,
                read: &|| Some(body.clone()),
            };
            let taken = self.on_body(Direction::Response, &chunk, world);
            effects.extend(taken);
        }
        if matches!(effects.last(), Some(Effect::Reply(_))) {
            return effects;
        }
        let headers = applied(&response.headers, &effects);
        let mut others = Vec::new();
        for effect in effects {
            match effect {
                Effect::SetBody(changed) => body = changed,
                Effect::Count(_) | Effect::Log(..) => others.push(effect),
                _ => {}
            }
        }
        let response = Response { headers, body };
        if !has_body && !response.body.is_empty() {
            others.push(Effect::Respond(response));
            return others;
        }
        let mut effects = response.replaces(actual, has_body);
        effects.append(&mut others);
        let Some(passed) = self.passed.as_mut().filter(|_| has_body) else {
            return effects;
        };
        match passed.early {
            None => passed.response_body.replace(response.body),
            Some(Early { is_whole }) => {
                effects.push(Effect::SetBody(response.body));
                if !is_whole {
                    passed.response_body.replace(Vec::new());
                }
            }
        }
        effects
    }

    /// What the rules say of a response.
    fn pass_response(&mut self, headers: &Headers, has_body: bool) -> Vec<Effect> {
        let Some(passed) = &mut self.passed else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        if let Some(change) = passed.response.take() {
            let changed = change.apply(headers).into_iter();
            effects.extend(changed.map(|(name, values)| Effect::SetHeaders(name, values)));
            let mut body = change.body(headers);
            match body.begin(&passed.route.name, headers) {
                Ok(begun) => effects.extend(begun),
                // There is nothing that could not be changed.
                Err(_) if !has_body => {}
                Err(denial) => return self.refuse_late(Direction::Response, denial),
            }
            if has_body {
                passed.response_body = body;
            }
        }
        let told = std::mem::take(&mut passed.told).into_iter();
        effects.extend(told.map(|(name, value)| Effect::SetHeader(name.into(), value.into_bytes())));
        effects
    }

    /// Takes down a piece of the upstream's own response, and keeps it when it is whole.
    pub(super) fn record(&mut self, chunk: &Chunk<'_>, world: &dyn World) {
        let Some(passed) = &mut self.passed else { return };
        // What is held comes again with the next piece.
        if passed.response_body.is_held() && !chunk.ends {
            return;
        }
        let recording = passed.recording.take().and_then(|recording| recording.take(chunk));
        match (&passed.stand_in, recording) {
            (Some(stand_in), Some(recording)) if chunk.ends => stand_in.keep(recording, world),
            (_, recording) => passed.recording = recording,
        }
    }
}
