//! Signals as data: blocked, then read from a descriptor together with their sender.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// The set of blocked signals as it was before `Signals::block`.
#[derive(Clone, Copy)]
pub struct Mask(libc::sigset_t);

impl Mask {
    pub fn restore(&self) {
        // SAFETY: the set came from sigprocmask and lives across the call.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

/// One signal as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub signal: i32,
    /// The process that sent it with `kill`; `None` when the kernel did, for instance for a key of the terminal.
    pub sender: Option<u32>,
}

/// The descriptor that becomes readable when one of the blocked signals arrives.
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks `signals` in this (single) thread and opens them as a descriptor.
    pub fn block(signals: &[i32]) -> io::Result<(Signals, Mask)> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initialises `set` before anything reads it; sigaddset refuses numbers it does not know;
        // sigprocmask initialises `before` when it succeeds, which is checked before it is read.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for &signal in signals {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok((Signals(OwnedFd::from_raw_fd(fd)), Mask(before.assume_init())))
        }
    }

    /// The next signal, or `None` when none waits.
    pub fn next(&self) -> io::Result<Option<Received>> {
        let mut bytes = [0u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut bytes) {
            Ok(read) if read == bytes.len() => {}
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // SAFETY: the kernel filled the whole structure, which is plain integers and valid for any bytes.
        let info = unsafe { bytes.as_ptr().cast::<libc::signalfd_siginfo>().read_unaligned() };
        let sender = (info.ssi_code == libc::SI_USER || info.ssi_code == libc::SI_QUEUE).then_some(info.ssi_pid);
        Ok(Some(Received { signal: i32::try_from(info.ssi_signo).unwrap_or(0), sender }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Gives `signal` its default meaning again (the Rust run time ignores `SIGPIPE`, and exec keeps that). True when it
/// was ignored before.
pub fn reset_disposition(signal: i32) -> bool {
    // SAFETY: SIG_DFL runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_DFL) == libc::SIG_IGN }
}

/// Sends any signal, real-time ones included. A process that is gone needs none.
pub fn send(to: rustix::process::Pid, signal: i32) {
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(to.as_raw_nonzero().get(), signal) };
}

/// Ignores `signal`, also in the program exec'ed next.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Unblocks every signal, for a child that starts afresh.
pub fn unblock_all() {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set before sigprocmask reads it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Stops this process by `signal` (one of those that stop a job), blocked or not, and returns when it was continued.
pub fn stop_by(signal: i32) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises `set` before it is read, and sigprocmask `before`, whose result is checked before
    // it is put back. A blocked signal waits for the second call, which returns after the process was continued.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::kill(libc::getpid(), signal);
        if libc::sigprocmask(libc::SIG_UNBLOCK, set.as_ptr(), before.as_mut_ptr()) == 0 {
            libc::sigprocmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
        }
    }
}

/// Dies by `signal`, so that whoever waits for us sees what the program died of; without a core of our own.
pub fn die_by(signal: i32) -> ! {
    reset_disposition(signal);
    unblock_all();
    // SAFETY: kill, getpid and _exit touch no memory. A signal whose default is not death falls through to the code a
    // shell would report.
    unsafe {
        libc::kill(libc::getpid(), signal);
        libc::_exit(128 + signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocking is per thread, and so is a signal sent to the thread itself.
    #[test]
    fn a_blocked_signal_is_read_with_its_sender_and_the_mask_comes_back() {
        let (signals, mask) = Signals::block(&[libc::SIGWINCH]).unwrap();
        assert_eq!(signals.next().unwrap(), None);
        // SAFETY: raise touches no memory.
        unsafe { libc::raise(libc::SIGWINCH) };
        let received = signals.next().unwrap().unwrap();
        assert_eq!(received.signal, libc::SIGWINCH);
        assert_eq!(signals.next().unwrap(), None);
        mask.restore();
        let (_, inner) = Signals::block(&[]).unwrap();
        // SAFETY: sigismember reads the set it is given.
        assert_eq!(unsafe { libc::sigismember(&raw const inner.0, libc::SIGWINCH) }, 0);
    }
}
