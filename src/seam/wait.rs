//! Waits of suspended messages, and wake-ups.

use std::cell::{Cell, RefCell};

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
}

/// The kind of a wait. Each kind has its own places, so that it cannot take those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitKind {
    /// For keys or records of credentials.
    Authentication,
    /// For the Rate Limit Service.
    Limit,
    /// For a replacement of the response.
    Response,
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
    /// The number of places of one worker, for all kinds together.
    pub const MOST: usize = 512;

    /// Whether one more message may wait if `taken` places of this kind are taken, `own` of them by the same source:
    /// the second half of the places is shared out among sources.
    pub fn has_place(self, taken: usize, own: impl FnOnce() -> usize) -> bool {
        let most = match self {
            Self::Authentication => Self::MOST / 2,
            Self::Limit | Self::Response => Self::MOST / 4,
        };
        taken < most / 2 || taken < most && own() < most / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_and_no_source_takes_the_places_of_others() {
        let most = |kind: WaitKind| {
            (0..WaitKind::MOST)
                .take_while(|&taken| kind.has_place(taken, || 0))
                .count()
        };
        let all = [WaitKind::Authentication, WaitKind::Limit, WaitKind::Response];
        assert_eq!(all.map(most), [256, 128, 128]);
        assert_eq!(all.map(most).iter().sum::<usize>(), WaitKind::MOST);
        for kind in all {
            let alone = (0..WaitKind::MOST)
                .take_while(|&taken| kind.has_place(taken, || taken))
                .count();
            assert_eq!(alone, most(kind) / 2, "one source");
            assert!(kind.has_place(alone, || 0), "another one");
        }
    }
}
