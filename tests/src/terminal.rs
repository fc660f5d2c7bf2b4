//! A command on a terminal of its own: what it shows, and keys for it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

use crate::cli::sibling;
use crate::until;

/// A terminal with one command at it, which ends with its value.
pub struct Terminal {
    shown: Arc<Mutex<Shown>>,
    master: File,
    slave: OwnedFd,
    child: Child,
}

struct Shown {
    parser: vt100::Parser,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.screen())
    }
}

impl Terminal {
    /// Runs the command line there; the size is columns and rows.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn run(arguments: &[&str], (columns, rows): (u16, u16), env: &[(&str, &str)]) -> Terminal {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        // It makes the terminal the command's own, and becomes the command.
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(sibling("decisiongraph-under-test"))
            .args(arguments)
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .envs(env.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let master = File::from(pty.master);
        let parser = vt100::Parser::new(some(rows), some(columns), 0);
        let shown = Arc::new(Mutex::new(Shown { parser, bytes: Vec::new() }));
        let (mut reader, seen) = (master.try_clone().unwrap(), shown.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 16 * 1024];
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                let mut seen = seen.lock().unwrap();
                seen.parser.process(&piece[..count]);
                seen.bytes.extend_from_slice(&piece[..count]);
            }
        });
        Terminal { shown, master, slave: pty.slave, child }
    }

    /// What is on the screen, a line a row.
    ///
    /// # Panics
    /// When the screen could not be read any more.
    pub fn screen(&self) -> String {
        self.shown.lock().unwrap().parser.screen().contents()
    }

    /// All that was ever written to it.
    ///
    /// # Panics
    /// As [`Terminal::screen`].
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap().bytes).into_owned()
    }

    /// Waits until all of this is on the screen at once.
    ///
    /// # Panics
    /// When it is not in time, with the screen.
    #[track_caller]
    pub fn until_shows(&self, texts: &[&str]) -> String {
        let shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("the screen shows it", || {
                let screen = self.screen();
                texts.iter().all(|text| screen.contains(text)).then_some(screen)
            })
        }));
        shown.unwrap_or_else(|_| panic!("{texts:?} are not all in\n{}", self.screen()))
    }

    /// Types.
    ///
    /// # Panics
    /// When the terminal takes nothing.
    pub fn press(&self, keys: &str) {
        (&self.master).write_all(keys.as_bytes()).unwrap();
    }

    /// Makes it another size, in columns and rows.
    ///
    /// # Panics
    /// When there is no `stty`.
    pub fn resize(&self, (columns, rows): (u16, u16)) {
        self.shown.lock().unwrap().parser.screen_mut().set_size(some(rows), some(columns));
        let mut stty = Command::new("stty");
        stty.args(["cols", &columns.to_string(), "rows", &rows.to_string()]);
        let changed = stty.stdin(Stdio::from(self.slave.try_clone().unwrap())).status().unwrap();
        assert!(changed.success());
    }

    /// Sends a signal to the command.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits until the command has ended; its exit code.
    ///
    /// # Panics
    /// When it does not end, or a signal ended it.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        until("the command ends", || self.child.try_wait().unwrap()).code().unwrap()
    }

    /// Whether it is as a shell wants it: lines are edited and echoed, the cursor is seen, and so is
    /// what was there before.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn is_restored(&self) -> bool {
        let flags = tcgetattr(&self.slave).unwrap().local_flags;
        let shown = self.shown.lock().unwrap();
        let screen = shown.parser.screen();
        flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
            && !screen.alternate_screen()
            && !screen.hide_cursor()
    }

    /// Waits until nothing of the command is left on it.
    ///
    /// # Panics
    /// When something is.
    pub fn until_restored(&self) {
        until("the terminal is restored", || self.is_restored().then_some(()));
    }
}

fn some(cells: u16) -> NonZero<u16> {
    NonZero::new(cells).unwrap()
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
