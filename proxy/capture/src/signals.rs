//! Which signals the launcher takes, and what becomes of each: pure.
//!
//! The program shares the launcher's process group, so keys of the terminal (Ctrl-C, Ctrl-Z, the window's size) reach it
//! by themselves. What somebody sends to the launcher's pid is for the program, and is passed on.

use kernel::signal::Received;

pub const HANG_UP: i32 = 1;
pub const INTERRUPT: i32 = 2;
pub const QUIT: i32 = 3;
pub const KILL: i32 = 9;
const STOP: i32 = 19;
pub const TERMINATE: i32 = 15;
pub const CHILD: i32 = 17;
pub const CONTINUE: i32 = 18;

/// Left alone: those that cannot be caught, those that say this process is broken, and SIGPIPE (never raised: we ask for
/// errors). Those that stop a job are taken: the launcher stops when the program has, not before, because its stop gives
/// the terminal back to the shell.
const UNTOUCHED: [i32; 12] = [4, 5, 6, 7, KILL, 8, 11, 13, STOP, 31, 32, 33];
const LAST: i32 = 64;

/// Every signal read as data.
pub fn taken() -> Vec<i32> {
    (1..=LAST).filter(|signal| !UNTOUCHED.contains(signal)).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A child changed its state.
    Child,
    /// End in good order: withdraw, drain, then pass it on.
    Terminate,
    /// The launcher was continued.
    Continued,
    PassOn(i32),
    Nothing,
}

/// `same_group`: the program is still in the launcher's process group.
pub fn meaning(received: Received, same_group: bool) -> Meaning {
    match (received.signal, received.sender) {
        (CHILD, _) => Meaning::Child,
        (TERMINATE, _) => Meaning::Terminate,
        (CONTINUE, _) => Meaning::Continued,
        (signal, Some(_)) => Meaning::PassOn(signal),
        // The terminal hung up: the program's group heard it, unless it has made one of its own.
        (HANG_UP, None) if !same_group => Meaning::PassOn(HANG_UP),
        (_, None) => Meaning::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_terminal_are_not_delivered_twice() {
        let key = Received { signal: INTERRUPT, sender: None };
        assert_eq!(meaning(key, true), Meaning::Nothing);
        let sent = Received { signal: INTERRUPT, sender: Some(1) };
        assert_eq!(meaning(sent, true), Meaning::PassOn(INTERRUPT));
    }

    #[test]
    fn a_hang_up_reaches_a_program_with_a_group_of_its_own() {
        let hung = Received { signal: HANG_UP, sender: None };
        assert_eq!(meaning(hung, false), Meaning::PassOn(HANG_UP));
        assert_eq!(meaning(hung, true), Meaning::Nothing);
    }

    #[test]
    fn signals_that_cannot_be_data_are_left_alone() {
        for signal in [KILL, STOP, 11, 6] {
            assert!(!taken().contains(&signal));
        }
        let key = Received { signal: 20, sender: None };
        assert_eq!(meaning(key, true), Meaning::Nothing, "the program stops, then we do");
        assert!(taken().contains(&TERMINATE) && taken().contains(&CHILD) && taken().contains(&34));
    }
}
