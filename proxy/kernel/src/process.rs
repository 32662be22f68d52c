//! Forking, leaving namespaces, becoming another program.
//!
//! For single-threaded processes only: each function here checks or says so. The traffic loop never comes near.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// What `fork` returned, and where.
pub enum Forked {
    Parent(Pid),
    Child,
}

/// Forks a process that has exactly one thread; `EBUSY` when there are more, whose locks the child would inherit.
pub fn fork() -> io::Result<Forked> {
    single_threaded()?;
    // SAFETY: with one thread no lock is held by anybody who does not exist in the child, so the child may go on
    // using the heap and the standard library.
    forked(i64::from(unsafe { libc::fork() }))
}

/// Forks a child of the *caller's parent* (`CLONE_PARENT`): the caller can become another program without that program
/// having a child it knows nothing of.
pub fn fork_sibling() -> io::Result<Forked> {
    single_threaded()?;
    // SAFETY: as for `fork`: one thread, no shared memory asked for (no CLONE_VM), a null stack means the same stack
    // copied. The C library keeps no per-process state that this bypasses: it caches neither pid nor tid we use.
    forked(unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT | libc::SIGCHLD, 0, 0, 0, 0) })
}

fn forked(pid: i64) -> io::Result<Forked> {
    match pid {
        0 => Ok(Forked::Child),
        pid if pid < 0 => Err(io::Error::last_os_error()),
        pid => match i32::try_from(pid).ok().and_then(Pid::from_raw) {
            Some(pid) => Ok(Forked::Parent(pid)),
            None => Err(io::Error::from_raw_os_error(libc::ERANGE)),
        },
    }
}

/// One directory entry per thread, two for the directory itself.
fn single_threaded() -> io::Result<()> {
    match rustix::fs::stat("/proc/self/task")?.st_nlink {
        3 => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EBUSY)),
    }
}

/// Moves this process into new namespaces. `EINVAL` when it has threads and asks for a user namespace.
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the one unsound flag (a private descriptor table for one thread of several) is refused above.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// A program about to replace this process, prepared so that the last steps allocate nothing.
pub struct Exec {
    program: CString,
    search: bool,
    arguments: Vec<CString>,
    environment: Option<Vec<CString>>,
}

impl Exec {
    /// `arguments[0]` is looked up in `PATH`, and the environment stays as it is.
    pub fn searching(arguments: &[OsString]) -> io::Result<Self> {
        let program = c_string(arguments.first().ok_or_else(invalid)?.as_os_str())?;
        Ok(Exec { program, search: true, arguments: c_strings(arguments)?, environment: None })
    }

    /// The program at `path` with exactly these arguments and this environment (`NAME=VALUE`).
    pub fn exactly(path: &OsStr, arguments: &[OsString], environment: &[OsString]) -> io::Result<Self> {
        let environment = Some(c_strings(environment)?);
        Ok(Exec { program: c_string(path)?, search: false, arguments: c_strings(arguments)?, environment })
    }

    /// Returns only when it failed.
    pub fn exec(&self) -> io::Error {
        let arguments = pointers(&self.arguments);
        match &self.environment {
            Some(environment) => {
                let environment = pointers(environment);
                // SAFETY: both arrays end in null and point at strings that `self` keeps alive during the call.
                unsafe { libc::execve(self.program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
            }
            None if self.search => {
                // SAFETY: as above; `environ` is read by the only thread there is.
                unsafe { libc::execvp(self.program.as_ptr(), arguments.as_ptr()) };
            }
            None => {
                // SAFETY: as above.
                unsafe { libc::execv(self.program.as_ptr(), arguments.as_ptr()) };
            }
        }
        io::Error::last_os_error()
    }
}

/// In a forked child: puts `sources` on the numbers from `first` up (not close-on-exec) and closes everything above.
///
/// Numbers below `first` stay. Every owned descriptor of the parent is dead afterwards, so the child must go on to
/// `exec` or use nothing but these numbers.
pub fn arrange(sources: &[BorrowedFd<'_>], first: RawFd) -> io::Result<()> {
    let count = RawFd::try_from(sources.len()).map_err(|_| invalid())?;
    let above = first + count;
    let mut safe = Vec::with_capacity(sources.len());
    for source in sources {
        // Two steps, because a source may sit on a number that another one is to get.
        safe.push(rustix::io::fcntl_dupfd_cloexec(source, above)?);
    }
    for (number, source) in (first..).zip(&safe) {
        // SAFETY: dup2 touches no memory; it may end a descriptor that another value owns, which the contract allows.
        if unsafe { libc::dup2(source.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    std::mem::forget(safe);
    crate::close_range_from(above);
    Ok(())
}

/// Ends the process without running destructors or exit handlers: the way out of a forked child.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit touches no memory and does not return.
    unsafe { libc::_exit(code) }
}

fn c_string(value: &OsStr) -> io::Result<CString> {
    CString::new(value.as_bytes()).map_err(|_| invalid())
}

fn c_strings(values: &[OsString]) -> io::Result<Vec<CString>> {
    values.iter().map(|value| CString::new(value.clone().into_vec()).map_err(|_| invalid())).collect()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_does_not_fork() {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        for refused in [fork().err(), fork_sibling().err()] {
            assert_eq!(refused.unwrap().raw_os_error(), Some(libc::EBUSY));
        }
        drop(stop);
        assert!(thread.join().unwrap().is_err());
    }

    #[test]
    fn arguments_with_a_zero_byte_are_refused() {
        assert!(Exec::searching(&[OsString::from("a\0b")]).is_err());
        assert!(Exec::searching(&[]).is_err());
        assert!(Exec::exactly(OsStr::new("/bin/true"), &[], &[OsString::from("A=\0")]).is_err());
    }

    #[test]
    fn a_private_descriptor_table_is_not_given() {
        assert_eq!(unshare(UnshareFlags::FILES).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
