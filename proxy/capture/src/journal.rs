//! The workload's log file: the sidecar writes to it directly, the launcher adds its own lines and keeps it small.
//!
//! The sidecar appends by itself because a launcher that is stopped (Ctrl-Z) must never block it. Rotation copies and
//! cuts in place; a few lines written between the two may be lost.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The file is rotated when it is larger than this.
pub const ROTATE_AT: u64 = 1024 * 1024;
/// And the sidecar cannot write beyond this, even when the launcher is stopped.
pub const HARD_LIMIT: u64 = 8 * ROTATE_AT;
const NO_FOLLOW: i32 = 0o400_000;

pub struct Journal {
    path: PathBuf,
    file: File,
    start: Instant,
}

impl Journal {
    pub fn open(path: &Path, start: Instant) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.append(true).read(true).create(true).mode(0o600).custom_flags(NO_FOLLOW);
        Ok(Journal { path: path.to_owned(), file: options.open(path)?, start })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn info(&self, text: &str) {
        self.line("INFO", text);
    }

    pub fn warn(&self, text: &str) {
        self.line("WARN", text);
    }

    /// A log that cannot be written (disk full) must not stop the program.
    fn line(&self, level: &str, text: &str) {
        let clean: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let line = format!("[{:>10.3}s] {level:>5} run: {clean}\n", self.start.elapsed().as_secs_f64());
        drop((&self.file).write_all(line.as_bytes()));
    }

    /// Moves what was written to `PATH.1` when it has grown too large; called now and then.
    pub fn rotate(&self) -> io::Result<()> {
        if self.file.metadata()?.len() <= ROTATE_AT {
            return Ok(());
        }
        let mut old = OpenOptions::new();
        old.write(true).create(true).truncate(true).mode(0o600).custom_flags(NO_FOLLOW);
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        let mut whole = &self.file;
        whole.seek(SeekFrom::End(-i64::try_from(ROTATE_AT).unwrap_or(0)))?;
        io::copy(&mut whole.take(ROTATE_AT), &mut old.open(name)?)?;
        self.file.set_len(0)
    }

    /// The last line written from offset `from` on: why a sidecar ended.
    pub fn last_line(&self, from: u64) -> Option<String> {
        let end = self.file.metadata().ok()?.len();
        let mut tail = Vec::new();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(from.max(end.saturating_sub(4096)))).ok()?;
        file.take(4096).read_to_end(&mut tail).ok()?;
        let text = String::from_utf8_lossy(&tail);
        let line = text.lines().rfind(|line| !line.trim().is_empty())?;
        Some(line.chars().map(|c| if c.is_control() { '?' } else { c }).take(300).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grew_is_moved_aside_once_and_stays_bounded() {
        let directory = std::env::temp_dir().join(format!("gossamer-journal-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("log");
        let journal = Journal::open(&path, Instant::now()).unwrap();
        let chunk = "x".repeat(1000);
        for _ in 0..1100 {
            journal.info(&chunk);
        }
        journal.rotate().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
        assert_eq!(std::fs::metadata(directory.join("log.1")).unwrap().len(), ROTATE_AT);
        journal.warn("two\nlines");
        assert!(journal.last_line(0).unwrap().ends_with("WARN run: two?lines"));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
