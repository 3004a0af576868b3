//! Child processes: started by this command, waited for by it, and never left behind.

use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Asks the kernel to end the child when this process ends, however it ends. A Ctrl-C at a terminal reaches the whole
/// process group anyway; this covers a parent that is killed by its process id.
pub fn ends_with_parent(command: &mut Command) -> &mut Command {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;
        // SAFETY: prctl is async-signal-safe, and the closure touches nothing of the parent's memory.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
    }
    command
}

/// Starts a child that ends with this process.
pub fn spawn(command: &mut Command) -> Result<Child> {
    ends_with_parent(command)
        .spawn()
        .with_context(|| format!("could not start {}", name_of(command)))
}

/// Runs to the end with the child's output visible.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    spawn(command)?
        .wait()
        .with_context(|| format!("could not wait for {}", name_of(command)))
}

/// Runs to the end with the child's output visible; an unsuccessful end is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("{} ended with {status}; its own message is above", name_of(command));
    }
    Ok(())
}

/// Like [`status`], but the child is stopped when it takes longer than `limit`: then the answer is `None`.
pub fn status_within(command: &mut Command, limit: Duration) -> Result<Option<ExitStatus>> {
    let mut child = spawn(command)?;
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Runs to the end and gives back what the child wrote to its standard output; an unsuccessful end is an error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = ends_with_parent(command)
        .output()
        .with_context(|| format!("could not start {}", name_of(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", name_of(command), output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote something that isn't text", name_of(command)))
}

/// Replaces this process by the command, so that signals go straight to it. Returns only when that failed.
pub fn replace_by(command: &mut Command) -> anyhow::Error {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    anyhow::Error::new(error).context(format!("could not start {}", name_of(command)))
}

/// One line about what is being done, on standard error, so that standard output stays the command's result.
pub fn say(line: impl std::fmt::Display) {
    eprintln!("xtask: {line}");
}

fn name_of(command: &Command) -> String {
    let mut name = command.get_program().to_string_lossy().into_owned();
    if let Some(first) = command.get_args().next() {
        name.push(' ');
        name.push_str(&first.to_string_lossy());
    }
    name
}
