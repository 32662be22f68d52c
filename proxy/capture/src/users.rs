//! Who is who inside the new user namespace.
//!
//! An ordinary user maps onto itself alone. Root maps every id it has onto itself, so that programs which change their
//! user (nginx, PostgreSQL) work as before.

use std::io;

use rustix::process::Pid;
use rustix::thread::CapabilitySet;

/// Writes the maps of `child`, which waits in a user namespace of its own.
pub fn map(child: Pid) -> io::Result<()> {
    let whole = rustix::process::geteuid().is_root() && may_map_all();
    if whole && map_all(child).is_ok() {
        return Ok(());
    }
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    write(child, "setgroups", "deny")?;
    write(child, "uid_map", &format!("{user} {user} 1"))?;
    write(child, "gid_map", &format!("{group} {group} 1"))
}

fn may_map_all() -> bool {
    let wanted = CapabilitySet::SETUID | CapabilitySet::SETGID;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(wanted))
}

fn map_all(child: Pid) -> io::Result<()> {
    for name in ["uid_map", "gid_map"] {
        write(child, name, &identity(&std::fs::read_to_string(format!("/proc/self/{name}"))?))?;
    }
    Ok(())
}

/// Every id that exists in our own namespace, onto itself.
fn identity(map: &str) -> String {
    let mut lines = String::new();
    for line in map.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [first, _, count] = fields[..] {
            lines.push_str(&format!("{first} {first} {count}\n"));
        }
    }
    lines
}

fn write(child: Pid, name: &str, text: &str) -> io::Result<()> {
    std::fs::write(format!("/proc/{}/{name}", child.as_raw_nonzero()), text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_id_of_ours_is_mapped_onto_itself() {
        assert_eq!(super::identity("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(super::identity("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    }
}
