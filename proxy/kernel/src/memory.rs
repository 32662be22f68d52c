//! Pages of the program's own file.

use std::io;

/// Gives the pages of the program's code and constants back. They stay in the kernel's cache, which all processes of the
/// program share; those that are used again come back, a few at a time, without being read from a disk.
///
/// The kernel maps sixteen pages around each one that is touched, so that a start leaves most of the file mapped, for good.
pub fn release_file_pages() -> io::Result<()> {
    for (start, end) in constant_segments() {
        // SAFETY: the range is a segment of this program that the file's header says is never written, mapped privately
        // from the file: every page of it still equals the file's, from which the next access gets it again. The file
        // cannot be written while it is executed.
        if unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The loaded segments without write access, whole pages: start and end. Relocated constants are in one with write access.
fn constant_segments() -> Vec<(usize, usize)> {
    // SAFETY: reads what the kernel told the process at its start.
    let (table, count, page) = unsafe {
        let table = libc::getauxval(libc::AT_PHDR) as *const libc::Elf64_Phdr;
        (table, libc::getauxval(libc::AT_PHNUM), libc::getauxval(libc::AT_PAGESZ))
    };
    if table.is_null() || page == 0 {
        return Vec::new();
    }
    // SAFETY: the kernel says that this many program headers are mapped there, and they stay for the life of the process.
    let headers = unsafe { std::slice::from_raw_parts(table, usize::try_from(count).unwrap_or(0)) };
    // Where a position-independent program was loaded; 0 for one with fixed addresses.
    let own = headers.iter().find(|header| header.p_type == libc::PT_PHDR);
    let base = own.map_or(0, |own| (table as u64).wrapping_sub(own.p_vaddr));
    let constant = |header: &&libc::Elf64_Phdr| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0;
    let pages = headers.iter().filter(constant).map(|header| {
        let (start, end) = (base.wrapping_add(header.p_vaddr), header.p_vaddr.wrapping_add(header.p_memsz));
        // The last page may be shared with the next segment's first only as a copy of the file: whole pages are ours.
        (start / page * page, base.wrapping_add(end) / page * page)
    });
    pages.filter(|(start, end)| start < end).map(|(start, end)| (start as usize, end as usize)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident_file_kb() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("RssFile:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn the_programs_pages_go_and_what_is_needed_comes_back() {
        let before = resident_file_kb();
        release_file_pages().unwrap();
        let after = resident_file_kb();
        assert!(after < before, "{before} kB, then {after} kB");
        // Constants and code are what they were.
        assert_eq!("a constant".to_owned() + " and another", ["a constant", "and another"].join(" "));
    }

    #[test]
    fn segments_are_whole_pages_of_this_program() {
        let here = constant_segments as *const () as usize;
        let segments = constant_segments();
        assert!(segments.iter().any(|(start, end)| (*start..*end).contains(&here)));
        assert!(segments.iter().all(|(start, end)| start % 4096 == 0 && end % 4096 == 0));
    }
}
