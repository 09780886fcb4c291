//! How the network devices deal with the cores: queues, interrupts, steering, rings, and which node of memory they are at.
//!
//! Only devices of hardware that are up count: those of a container, bridges and loopback have no queue of their own to judge.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::Finding;
use super::host::Host;
use super::numbers::{names_any, set};

/// What one check says of one device: fine, not to be judged, or what is wrong and what mends it.
enum Opinion {
    Fine(String),
    Unknown(String),
    Wrong(String, String),
}

/// A network device.
struct Device<'a> {
    host: &'a Host,
    name: String,
    /// Its folder in sysfs, below the root.
    folder: PathBuf,
    receive_queues: Vec<PathBuf>,
    send_queues: Vec<PathBuf>,
}

type Check = fn(&Device<'_>) -> Opinion;

const CHECKS: [(&str, Check); 6] = [
    ("nic_queues", |device| device.queues()),
    ("irq_affinity", |device| device.interrupts()),
    ("rps", |device| device.receive_steering()),
    ("xps", |device| device.send_steering()),
    ("nic_rings", |device| device.rings()),
    ("numa", |device| device.node()),
];

/// One finding a check, over all devices.
pub(super) fn judge(host: &Host) -> Vec<Finding> {
    let devices = devices(host);
    CHECKS
        .map(|(name, check)| sum_up(name, devices.iter().map(|device| (device.name.as_str(), check(device)))))
        .into()
}

/// What is wrong with any of them counts, then what cannot be judged.
fn sum_up<'a>(name: &'static str, opinions: impl Iterator<Item = (&'a str, Opinion)>) -> Finding {
    let (mut fine, mut unknown, mut wrong, mut fixes) = (vec![], vec![], vec![], vec![]);
    for (device, opinion) in opinions {
        match opinion {
            Opinion::Fine(what) => fine.push(format!("{device}: {what}")),
            Opinion::Unknown(what) => unknown.push(format!("{device}: {what}")),
            Opinion::Wrong(what, fix) => {
                wrong.push(format!("{device}: {what}"));
                fixes.push(fix);
            }
        }
    }
    if !wrong.is_empty() {
        Finding::warning(name, wrong.join("; "), fixes.join("; "))
    } else if !unknown.is_empty() {
        Finding::unknown(name, unknown.join("; "))
    } else if !fine.is_empty() {
        Finding::ok(name, fine.join("; "))
    } else {
        Finding::unknown(name, "no network device of hardware is to be seen here".into())
    }
}

fn devices(host: &Host) -> Vec<Device<'_>> {
    let net = Path::new("sys/class/net");
    let mut devices = Vec::new();
    for name in names(host, net) {
        let folder = net.join(&name);
        let is_up = host.read(folder.join("operstate")).is_some_and(|state| state != "down");
        if !is_up || !host.root.join(&folder).join("device").exists() {
            continue;
        }
        let queues = |kind: &str| {
            let queues = folder.join("queues");
            let all = names(host, &queues).into_iter().filter(|queue| queue.starts_with(kind));
            all.map(|queue| queues.join(queue)).collect()
        };
        let (receive_queues, send_queues) = (queues("rx-"), queues("tx-"));
        devices.push(Device { host, name, folder, receive_queues, send_queues });
    }
    devices
}

/// What is in a folder, in order; nothing when it cannot be read.
fn names(host: &Host, folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(host.root.join(folder)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

impl Device<'_> {
    /// Whether packets of any receive queue are handed to other CPUs.
    fn is_steered(&self) -> bool {
        let mask = |queue: &PathBuf| self.host.read(queue.join("rps_cpus"));
        self.receive_queues.iter().filter_map(mask).any(|mask| names_any(&mask))
    }

    fn has_queue_for_each_core(&self) -> bool {
        self.receive_queues.len() >= self.host.cores
    }

    fn queues(&self) -> Opinion {
        let (queues, cores) = (self.receive_queues.len(), self.host.cores);
        let what = format!("{queues} receive queues for {cores} cores");
        if queues == 0 {
            Opinion::Unknown("its queues are not shown here".into())
        } else if self.has_queue_for_each_core() || self.is_steered() {
            Opinion::Fine(what)
        } else {
            let name = &self.name;
            let fix = format!(
                "ethtool -L {name} combined {cores} (ethtool -l {name} tells how many it has; rps makes up for what it lacks)"
            );
            Opinion::Wrong(what, fix)
        }
    }

    /// The CPUs that the device's interrupts go to. The kernel tells the one that it chose, or at least those that it may choose from.
    fn interrupts(&self) -> Opinion {
        let cpus_of = |number: &String| {
            let folder = Path::new("proc/irq").join(number);
            let chosen =
                self.host.read(folder.join("effective_affinity_list")).filter(|cpus| !cpus.is_empty());
            chosen.or_else(|| self.host.read(folder.join("smp_affinity_list"))).map(|cpus| set(&cpus))
        };
        let cpus: BTreeSet<usize> = self.interrupt_numbers().iter().filter_map(cpus_of).flatten().collect();
        let wanted = self.receive_queues.len().min(self.host.cores);
        let what = format!("interrupts go to {} CPUs", cpus.len());
        if cpus.is_empty() {
            Opinion::Unknown("its interrupts are not shown here".into())
        } else if cpus.len() >= wanted {
            Opinion::Fine(what)
        } else {
            let fix = format!(
                "stop irqbalance, then for each interrupt of {} in /proc/interrupts: echo CPU > /proc/irq/NUMBER/smp_affinity_list",
                self.name
            );
            Opinion::Wrong(format!("{what}, and {wanted} could share them"), fix)
        }
    }

    fn interrupt_numbers(&self) -> Vec<String> {
        let device = self.folder.join("device");
        let own = names(self.host, &device.join("msi_irqs"));
        let subsystem = fs::read_link(self.host.root.join(&device).join("subsystem")).ok();
        let is_virtio = subsystem.is_some_and(|link| link.file_name().is_some_and(|name| name == "virtio"));
        if own.is_empty() && is_virtio {
            // The interrupts are those of the PCI device, which the virtio device is a child of.
            names(self.host, &device.join("../msi_irqs"))
        } else {
            own
        }
    }

    fn receive_steering(&self) -> Opinion {
        let masks =
            self.receive_queues.iter().filter_map(|queue| self.host.read(queue.join("rps_cpus"))).count();
        let (queues, cores) = (self.receive_queues.len(), self.host.cores);
        let file = format!("/sys/class/net/{}/queues/rx-N/rps_cpus", self.name);
        match (self.has_queue_for_each_core(), self.is_steered()) {
            _ if masks == 0 => Opinion::Unknown("rps_cpus is not shown here".into()),
            (true, false) => Opinion::Fine("off, and each core has a queue".into()),
            (false, true) => Opinion::Fine("on, for more cores than queues".into()),
            (true, true) => {
                let what = "on, though each core has a queue: packets go from CPU to CPU for nothing";
                Opinion::Wrong(what.into(), format!("echo 0 > {file}, for each queue N"))
            }
            (false, false) => {
                let what = format!("off, with {queues} receive queues for {cores} cores");
                Opinion::Wrong(what, format!("echo MASK > {file}, where nic_queues cannot be mended"))
            }
        }
    }

    fn send_steering(&self) -> Opinion {
        let is_mapped = |queue: &&PathBuf| {
            let masks =
                ["xps_cpus", "xps_rxqs"].into_iter().filter_map(|file| self.host.read(queue.join(file)));
            masks.into_iter().any(|mask| names_any(&mask))
        };
        let is_shown = self.send_queues.iter().any(|queue| self.host.read(queue.join("xps_cpus")).is_some());
        let mapped = self.send_queues.iter().filter(is_mapped).count();
        match self.send_queues.len() {
            0 => Opinion::Unknown("its queues are not shown here".into()),
            1 => Opinion::Fine("one send queue, nothing to choose".into()),
            _ if mapped > 0 => Opinion::Fine(format!("{mapped} send queues belong to CPUs")),
            _ if !is_shown => Opinion::Unknown("xps_cpus is not shown here".into()),
            queues => {
                let fix =
                    format!("echo MASK > /sys/class/net/{}/queues/tx-N/xps_cpus, one CPU a queue", self.name);
                Opinion::Wrong(format!("{queues} send queues, and none belongs to a CPU"), fix)
            }
        }
    }

    /// A ring is too small when packets have been lost for want of room; larger ones than that cost cache.
    fn rings(&self) -> Opinion {
        let lost =
            |counter: &str| self.host.read(self.folder.join("statistics").join(counter))?.parse::<u64>().ok();
        match (lost("rx_missed_errors"), lost("rx_fifo_errors")) {
            (None, None) => Opinion::Unknown("its statistics are not shown here".into()),
            (None | Some(0), None | Some(0)) => Opinion::Fine("no packet lost for want of room".into()),
            (missed, fifo) => {
                let name = &self.name;
                let (missed, fifo) = (missed.unwrap_or(0), fifo.unwrap_or(0));
                let what = format!(
                    "packets lost for want of room since it is up: rx_missed_errors {missed}, rx_fifo_errors {fifo}"
                );
                Opinion::Wrong(
                    what,
                    format!(
                        "ethtool -g {name} tells how large its rings may be; ethtool -G {name} rx NUMBER"
                    ),
                )
            }
        }
    }

    fn node(&self) -> Opinion {
        let nodes = Path::new("sys/devices/system/node");
        let online = self.host.read(nodes.join("online")).map(|online| set(&online));
        let own = self.host.read(self.folder.join("device/numa_node"));
        match (online, own.and_then(|own| own.parse::<usize>().ok())) {
            (None, _) => Opinion::Unknown("this kernel shows no nodes of memory here".into()),
            (Some(online), _) if online.len() <= 1 => Opinion::Fine("one node of memory".into()),
            (Some(_), None) => Opinion::Unknown("it does not tell its node of memory".into()),
            (Some(_), Some(own)) => {
                let near = self.host.read(nodes.join(format!("node{own}/cpulist"))).unwrap_or_default();
                let near = set(&near);
                match self.host.cpus.iter().filter(|cpu| !near.contains(cpu)).count() {
                    0 => Opinion::Fine(format!("at node {own}, as are all cores")),
                    far => {
                        let fix = format!(
                            "numactl --cpunodebind={own} --membind={own} inrush (systemd: CPUAffinity=numa, NUMAPolicy=bind, NUMAMask={own})"
                        );
                        Opinion::Wrong(format!("at node {own}, and {far} cores are at others"), fix)
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::planted::Planted;
    use super::*;
    use crate::runtime::preflight::Verdict;

    /// A device of hardware with so many queues of each kind, interrupts of its own from 30 on, and everything as it should be for them.
    fn plant(host: &Planted, queues: usize) {
        host.file("sys/class/net/eth0/operstate", "up\n");
        host.file("sys/class/net/eth0/device/numa_node", "0\n");
        host.file("sys/devices/system/node/online", "0-1\n");
        host.file("sys/devices/system/node/node0/cpulist", "0-3\n");
        host.file("sys/class/net/eth0/statistics/rx_missed_errors", "0\n");
        host.file("sys/class/net/eth0/statistics/rx_fifo_errors", "0\n");
        for queue in 0..queues {
            host.file(&format!("sys/class/net/eth0/queues/rx-{queue}/rps_cpus"), "00000000,00000000\n");
            host.file(
                &format!("sys/class/net/eth0/queues/tx-{queue}/xps_cpus"),
                &format!("{:x}\n", 1 << queue),
            );
            host.file(&format!("sys/class/net/eth0/device/msi_irqs/{}", 30 + queue), "msix\n");
            host.file(&format!("proc/irq/{}/effective_affinity_list", 30 + queue), &format!("{queue}\n"));
        }
    }

    fn found(host: &Planted, cpus: &[usize], name: &str) -> Finding {
        judge(&host.host(cpus)).into_iter().find(|finding| finding.name == name).unwrap()
    }

    /// One queue, interrupt and CPU a core, all at one node: nothing to say.
    #[test]
    fn a_host_that_is_set_up_well_is_found_so() {
        let host = Planted::new("well");
        plant(&host, 4);
        for finding in judge(&host.host(&[0, 1, 2, 3])) {
            assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
        }
    }

    /// Each thing that can be wrong is found by its own check, with a fix that names the device or the file.
    #[test]
    fn each_fault_is_found_by_its_check() {
        /// The check, the file that is not as it should be and its text, queues, CPUs, and what the fix says.
        type Fault = (&'static str, &'static str, &'static str, usize, &'static [usize], &'static str);
        const FAULTS: [Fault; 6] = [
            ("irq_affinity", "proc/irq/31/effective_affinity_list", "0\n", 2, &[0, 1], "smp_affinity_list"),
            (
                "rps",
                "sys/class/net/eth0/queues/rx-1/rps_cpus",
                "00000000,00000003\n",
                2,
                &[0, 1],
                "echo 0 > /sys/class/net/eth0",
            ),
            (
                "xps",
                "sys/class/net/eth0/queues/tx-0/xps_cpus",
                "0\n",
                2,
                &[0, 1],
                "eth0/queues/tx-N/xps_cpus",
            ),
            (
                "nic_rings",
                "sys/class/net/eth0/statistics/rx_missed_errors",
                "7\n",
                2,
                &[0, 1],
                "ethtool -G eth0",
            ),
            ("numa", "sys/class/net/eth0/device/numa_node", "0\n", 2, &[0, 8], "NUMAMask=0"),
            (
                "nic_queues",
                "sys/class/net/eth0/operstate",
                "up\n",
                2,
                &[0, 1, 2, 3],
                "ethtool -L eth0 combined 4",
            ),
        ];
        for (name, file, text, queues, cpus, fix) in FAULTS {
            let host = Planted::new("fault");
            plant(&host, queues);
            host.file(file, text);
            if name == "xps" {
                host.file("sys/class/net/eth0/queues/tx-1/xps_cpus", "0\n");
            }
            let finding = found(&host, cpus, name);
            assert_eq!(finding.verdict, Verdict::Warning, "{finding:?}");
            assert!(finding.detail.starts_with("eth0: ") && finding.fix.contains(fix), "{finding:?}");
            let others = judge(&host.host(cpus)).into_iter().filter(|other| other.verdict != Verdict::Ok);
            let others: Vec<_> = others.map(|other| other.name).filter(|other| *other != name).collect();
            // Queues that are too few can be mended either way.
            assert_eq!(others, if name == "nic_queues" { vec!["rps"] } else { vec![] });
        }
    }

    /// Fewer queues than cores are fine once packets are handed on.
    #[test]
    fn steering_makes_up_for_queues() {
        let host = Planted::new("steering");
        plant(&host, 1);
        host.file("sys/class/net/eth0/queues/rx-0/rps_cpus", "f\n");
        for name in ["nic_queues", "rps", "irq_affinity", "xps"] {
            assert_eq!(found(&host, &[0, 1, 2, 3], name).verdict, Verdict::Ok, "{name}");
        }
    }

    /// The interrupts of a virtio device are its PCI device's, the folder above it.
    #[test]
    fn interrupts_of_virtio_are_found_above_it() {
        let host = Planted::new("virtio");
        plant(&host, 0);
        let root = host.host(&[0, 1]).root;
        fs::remove_dir_all(root.join("sys/class/net/eth0/device")).unwrap();
        host.folder("sys/devices/pci/virtio0");
        host.folder("sys/bus/virtio");
        host.file("sys/devices/pci/msi_irqs/40", "msix\n");
        host.file("proc/irq/40/smp_affinity_list", "1\n");
        symlink(root.join("sys/devices/pci/virtio0"), root.join("sys/class/net/eth0/device")).unwrap();
        symlink(root.join("sys/bus/virtio"), root.join("sys/devices/pci/virtio0/subsystem")).unwrap();
        let finding = found(&host, &[0, 1], "irq_affinity");
        assert_eq!(
            (finding.verdict, finding.detail.as_str()),
            (Verdict::Ok, "eth0: interrupts go to 1 CPUs")
        );
    }

    /// Devices without hardware, those that are down and hosts that show nothing are not judged.
    #[test]
    fn what_cannot_be_judged_is_unknown() {
        let host = Planted::new("unknown");
        for finding in judge(&host.host(&[0, 1])) {
            assert_eq!(finding.verdict, Verdict::Unknown, "{finding:?}");
        }
        host.file("sys/class/net/veth0/operstate", "up\n");
        host.file("sys/class/net/veth0/queues/rx-0/rps_cpus", "0\n");
        host.file("sys/class/net/eth1/operstate", "down\n");
        host.folder("sys/class/net/eth1/device");
        host.folder("sys/class/net/eth1/queues/rx-0");
        for finding in judge(&host.host(&[0, 1])) {
            assert_eq!(finding.verdict, Verdict::Unknown, "{finding:?}");
            assert!(finding.detail.contains("no network device"), "{finding:?}");
        }
        host.file("sys/class/net/eth1/operstate", "up\n");
        let finding = found(&host, &[0, 1], "irq_affinity");
        assert_eq!((finding.verdict, finding.fix.as_str()), (Verdict::Unknown, ""), "{finding:?}");
    }
}
