//! `/stats/summary`: upstream's `v1alpha1.Summary`. Pure.

use super::{Cpu, Memories, PodUse, Sample};
use jiff::Timestamp;
use serde_json::{Value, json};

fn time(nanos: i64) -> Value {
    match Timestamp::from_nanosecond(i128::from(nanos)) {
        Ok(moment) => moment_of(Some(moment)),
        Err(_) => Value::Null,
    }
}

fn moment_of(moment: Option<Timestamp>) -> Value {
    let second = moment.and_then(|moment| Timestamp::from_second(moment.as_second()).ok());
    second.map_or(Value::Null, |second| second.to_string().into())
}

/// Leaves out what is not known.
fn known(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().map(|(key, value)| (key, known(value)));
            Value::Object(kept.filter(|(_, value)| !value.is_null()).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(known).collect()),
        other => other,
    }
}

fn cpu(cpu: Option<Cpu>) -> Value {
    cpu.map_or(Value::Null, |cpu| {
        json!({"time": time(cpu.at), "usageNanoCores": cpu.rate, "usageCoreNanoSeconds": cpu.used})
    })
}

fn memory(memory: Option<Memories>, available: Option<u64>) -> Value {
    memory.map_or(Value::Null, |memory| {
        json!({
            "time": time(memory.at),
            "availableBytes": available,
            "usageBytes": memory.usage,
            "workingSetBytes": memory.working_set,
            "rssBytes": memory.rss,
            "pageFaults": memory.faults,
            "majorPageFaults": memory.major_faults,
        })
    })
}

/// The whole document.
pub(super) fn summary(sample: &Sample) -> String {
    let node = &sample.node;
    let [all, free, files, files_free] = node.disk;
    let disk = |used: u64, inodes_used: u64| {
        json!({
            "time": time(node.cpu.at),
            "availableBytes": free,
            "capacityBytes": all,
            "usedBytes": used,
            "inodesFree": files_free,
            "inodes": files,
            "inodesUsed": inodes_used,
        })
    };
    let pods = sample.pods.iter().filter(|pod| !pod.containers.is_empty()).map(|pod| {
        let containers = pod.containers.iter().map(|one| {
            json!({
                "name": one.name,
                "startTime": moment_of(one.started),
                "cpu": cpu(one.cpu),
                "memory": memory(one.memory, None),
                "rootfs": one.disk.map(|(bytes, inodes)| disk(bytes, inodes)),
            })
        });
        json!({
            "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "startTime": moment_of(pod.started),
            "containers": containers.collect::<Vec<_>>(),
            "cpu": cpu(pod.cpu()),
            "memory": memory(pod.memory(), None),
            "ephemeral-storage": storage(pod, &disk),
        })
    });
    let own = disk(all.saturating_sub(free), files.saturating_sub(files_free));
    let document = json!({
        "node": {
            "nodeName": node.name,
            "startTime": moment_of(node.booted),
            "cpu": cpu(Some(node.cpu)),
            "memory": memory(Some(node.memory), Some(node.memory_available)),
            "fs": own.clone(),
            "runtime": {"imageFs": own},
        },
        "pods": pods.collect::<Vec<_>>(),
    });
    known(document).to_string()
}

fn storage(pod: &PodUse, disk: &dyn Fn(u64, u64) -> Value) -> Value {
    let used = pod.containers.iter().filter_map(|one| one.disk);
    used.reduce(|a, b| (a.0 + b.0, a.1 + b.1)).map_or(Value::Null, |(b, i)| disk(b, i))
}
