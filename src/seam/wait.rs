//! Waits of suspended messages, and wake-ups.

use std::cell::{Cell, RefCell};

use crate::clock::Millis;

/// The shell's id of a request with its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// A ticket: something that messages of one worker wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The source of tickets, with a list of those that are due.
#[derive(Debug, Default)]
pub struct Wakes {
    next: Cell<u64>,
    due: RefCell<Vec<Ticket>>,
}

/// What a suspended message waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The kind, which determines the places.
    pub kind: WaitKind,
    /// Tickets; any of them wakes the message.
    pub tickets: Vec<Ticket>,
    /// When the message is woken up at the latest, by the monotonic clock; `None` for the time that the exchange gives to
    /// all waits of a message together.
    pub until: Option<Millis>,
}

/// The kind of a wait. Each kind has its own places, so that it cannot take those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitKind {
    /// For keys or records of credentials.
    Authentication,
    /// For the Rate Limit Service.
    Limit,
    /// For a replacement of the response.
    Response,
    /// For the parts of an aggregate.
    Parts,
}

/// Why a suspended message is woken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// An awaited result has come, or will not come.
    Due,
    /// The time for which it may be suspended is over.
    TimeOver,
}

impl Wakes {
    /// A new ticket.
    pub fn ticket(&self) -> Ticket {
        let ticket = self.next.get();
        self.next.set(ticket.wrapping_add(1));
        Ticket(ticket)
    }

    /// Makes a ticket due: its messages are woken up at the end of the callback.
    pub fn wake(&self, ticket: Ticket) {
        self.due.borrow_mut().push(ticket);
    }

    /// Takes the tickets that are due.
    pub fn take(&self) -> Vec<Ticket> {
        self.due.take()
    }
}

impl WaitKind {
    /// The number of places of one worker for this kind.
    pub const fn places(self) -> usize {
        match self {
            Self::Authentication => 256,
            Self::Limit | Self::Response => 128,
            Self::Parts => 1024,
        }
    }

    /// Whether one more message may wait if `taken` places of this kind are taken, `own` of them by the same source:
    /// the second half of the places is shared out among sources.
    pub fn has_place(self, taken: usize, own: impl FnOnce() -> usize) -> bool {
        let most = self.places();
        taken < most / 2 || taken < most && own() < most / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_alone_takes_half_of_the_places() {
        for kind in [
            WaitKind::Authentication,
            WaitKind::Limit,
            WaitKind::Response,
            WaitKind::Parts,
        ] {
            let most = (0..).take_while(|&taken| kind.has_place(taken, || 0)).count();
            assert_eq!(most, kind.places(), "many sources");
            let alone = (0..).take_while(|&taken| kind.has_place(taken, || taken)).count();
            assert_eq!(alone, most / 2, "one source");
            assert!(kind.has_place(alone, || 0), "another one");
        }
    }
}
