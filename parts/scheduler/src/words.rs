//! Names, reasons and messages exactly as upstream writes them (spec C11–C13, C31, C35).

/// The scheduler's name, in pods and in events.
pub const SCHEDULER: &str = "default-scheduler";
/// Event: no node.
pub const FAILED_SCHEDULING: &str = "FailedScheduling";
/// Event: bound.
pub const SCHEDULED: &str = "Scheduled";
/// Event on a victim.
pub const PREEMPTED: &str = "Preempted";
/// Action of [`FAILED_SCHEDULING`].
pub const ACTION_SCHEDULING: &str = "Scheduling";
/// Action of [`SCHEDULED`].
pub const ACTION_BINDING: &str = "Binding";
/// Action of [`PREEMPTED`].
pub const ACTION_PREEMPTING: &str = "Preempting";
/// Condition of a pod.
pub const POD_SCHEDULED: &str = "PodScheduled";
/// Reason: no node fits.
pub const UNSCHEDULABLE: &str = "Unschedulable";
/// Reason: gates are left.
pub const SCHEDULING_GATED: &str = "SchedulingGated";
/// Message: gates are left.
pub const GATED_MESSAGE: &str = "Scheduling is blocked due to non-empty scheduling gates";
/// Reason: trouble that is not the pod's.
pub const SCHEDULER_ERROR: &str = "SchedulerError";
/// Condition of a pod that is about to be disrupted.
pub const DISRUPTION_TARGET: &str = "DisruptionTarget";
/// Reason of a victim's [`DISRUPTION_TARGET`].
pub const PREEMPTION_BY_SCHEDULER: &str = "PreemptionByScheduler";
/// Message when there is no node at all.
pub const NO_NODES: &str = "no nodes available to schedule pods";
/// Why preemption was not tried.
pub const NEVER_PREEMPTS: &str = "not eligible due to preemptionPolicy=Never.";
/// Why preemption was not tried.
pub const ALREADY_PREEMPTING: &str = "not eligible due to a terminating pod on the nominated node.";
/// Ours: a claimed volume cannot be found.
pub const NO_VOLUME_CLAIMS: &str =
    "node(s) cannot be judged: this scheduler does not support persistent volume claims";
/// Ours: a claimed device cannot be found.
pub const NO_RESOURCE_CLAIMS: &str =
    "node(s) cannot be judged: this scheduler does not support resource claims";
