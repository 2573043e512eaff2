//! What messages are held for, and how they are woken up.

use std::cell::{Cell, RefCell};

/// A request with its response, by the number that the shell has given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// Something that messages of one worker wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Hands out tickets, and remembers which of them have come due.
#[derive(Debug, Default)]
pub struct Wakes {
    next: Cell<u64>,
    due: RefCell<Vec<Ticket>>,
}

/// Why a message is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Which places it takes.
    pub kind: WaitKind,
    /// It is woken up when any of these comes due.
    pub tickets: Vec<Ticket>,
}

/// For what a message can be held. Each kind has places of its own, so that none of them can take the others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitKind {
    /// What tells who a request is from.
    Authentication,
    /// What tells how much it may.
    Limit,
    /// What replaces its response.
    Response,
}

/// Why a message that was held is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wakeup {
    /// Something that it waits for has come, or will not.
    Due,
    /// The request has been held for as long as one may be.
    TimeOver,
}

impl Wakes {
    /// A ticket that nobody has.
    pub fn ticket(&self) -> Ticket {
        let ticket = self.next.get();
        self.next.set(ticket.wrapping_add(1));
        Ticket(ticket)
    }

    /// Wakes up who holds this ticket, at the end of the callback.
    pub fn wake(&self, ticket: Ticket) {
        self.due.borrow_mut().push(ticket);
    }

    /// The tickets that have come due since it was last asked.
    pub fn take(&self) -> Vec<Ticket> {
        self.due.take()
    }
}

impl WaitKind {
    /// Places of one worker, all kinds together.
    pub const MOST: usize = 512;

    /// Whether one more may wait, where so many of the kind do, and so many of those from the same source: the second half of the places is
    /// shared out among sources.
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
