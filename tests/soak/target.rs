//! The target that flaps.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::support::server::Inrush;
use super::support::{PATIENCE, wait_until};
use super::{Happening, World};

/// A target that is there, dies in the middle of it, refuses, takes connections and says nothing, and is there again.
pub fn flap(world: &World, address: SocketAddr) {
    let pass = |time: Duration| {
        let until = Instant::now() + time;
        while Instant::now() < until && !world.is_over() {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    while !world.is_over() {
        let target = Inrush::new().rtmp(address).cores(1).start();
        wait_until("the flapping target is found", PATIENCE, || {
            (world.is_over() || target.metrics().gauge("publishers") > 0).then_some(())
        });
        if world.is_over() {
            break;
        }
        world.count(Happening::TargetServed, 1);
        pass(world.size.flap);
        target.kill();
        world.count(Happening::TargetDied, 1);
        pass(world.size.flap / 2);
        be_mute(world, address);
    }
}

/// Takes connections for a while, and closes all of them together.
fn be_mute(world: &World, address: SocketAddr) {
    // The kernel takes a dead process's ring down, and its listener with it, after the process is gone.
    let listener = wait_until("the port is free", PATIENCE, || TcpListener::bind(address).ok());
    listener.set_nonblocking(true).expect("change the mode of a socket");
    let until = Instant::now() + world.size.flap / 2;
    let mut taken = Vec::new();
    while !world.is_over() && (taken.is_empty() || Instant::now() < until) {
        match listener.accept() {
            Ok((socket, _)) => taken.push(socket),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    world.count(Happening::TargetMute, taken.len() as u64);
}
