/// What happens when more bytes wait on a loop than [`outbound_budget`](crate::WSLoopConfig::outbound_budget) allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WSBudgetPolicy {
    /// The connection on which most bytes wait is aborted, then the next, until the rest is within the budget: who reads slowest pays,
    /// whoever is sent to.
    #[default]
    CloseSlowest,
    /// The connection that was sent to is aborted.
    Close,
    /// Frames for connections whose kernel refuses bytes are dropped and counted, as with
    /// [`WSOverflowPolicy::DropNew`](crate::WSOverflowPolicy::DropNew); control frames are sent all the same. Frames that a dispatch has
    /// gathered before the kernel refused them stay, so the budget may be exceeded by that much.
    DropNew,
}

/// What waits on a loop, and what its budget cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WSOutbound {
    /// Bytes that kernels have refused and that wait, over all connections. Zero without a budget: nothing is counted then.
    pub waiting: usize,
    /// Connections aborted so far.
    pub aborted: u64,
    /// Frames dropped so far.
    pub dropped: u64,
}
