//! nginx-rtmp as it is compared and as tests load it: one process on a port of its own, without an access log, its files in a folder
//! of its own.
//!
//! # Errors
//! Why it did not start, in one line: the last of its error log, if there is one.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Instant;

use super::child::{self, Child};
use super::server::{LOOK, Running, START_UP, told};

/// Where Debian puts the server.
pub const PROGRAM: &str = "/usr/sbin/nginx";
/// And the module.
pub const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
/// How often it is started on another port when its own was taken meanwhile.
const PORTS_TRIED: usize = 5;

/// nginx cannot be asked for a free port: one that was free a moment ago is tried, and another when it is not any more.
///
/// `live` are the directives of application `live` beside `live on;`: none for the module's defaults.
pub fn start(
    program: &Path,
    host: &str,
    cpus: &[usize],
    folder: &Path,
    live: &str,
) -> Result<Running, String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut why = String::new();
    for _ in 0..PORTS_TRIED {
        let free = TcpListener::bind((host, 0)).and_then(|listener| listener.local_addr());
        let address = free.map_err(|error| format!("{host}: {error}"))?;
        let own = folder.join(format!("nginx-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&own).map_err(|error| told(&own, &error))?;
        let own = fs::canonicalize(&own).map_err(|error| told(&own, &error))?;
        let (config, log) = (own.join("nginx.conf"), own.join("error.log"));
        fs::write(&config, configuration(&own, address, live)).map_err(|error| told(&config, &error))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&own).arg("-c").arg(&config).arg("-e").arg(&log);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Child::spawn(&mut command, cpus).map_err(|error| told(program, &error))?;
        let mut running = Running::new(process, Some(address));
        let deadline = Instant::now() + START_UP;
        while Instant::now() < deadline && !child::is_interrupted() {
            if running.process().ended().map_err(|error| told(program, &error))?.is_some() {
                break;
            }
            if TcpStream::connect(address).is_ok() {
                return Ok(running);
            }
            sleep(LOOK);
        }
        let log = fs::read_to_string(&log).unwrap_or_default();
        why = log.lines().last().unwrap_or("it did not answer").to_owned();
    }
    Err(format!("nginx did not start: {why}"))
}

fn configuration(folder: &Path, address: SocketAddr, live: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log emerg;
load_module {MODULE};
events {{ worker_connections 16384; }}
rtmp {{
    access_log off;
    max_message 16M;
    server {{ listen {address}; application live {{ live on; {live} }} }}
}}
"
    )
}
