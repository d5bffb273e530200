//! What the heap sees, of all threads: an allocator for targets whose tests have the process for themselves.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);

fn allocated(size: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    LARGEST.fetch_max(size, Ordering::Relaxed);
    let size = size.cast_signed();
    PEAK.fetch_max(LIVE.fetch_add(size, Ordering::Relaxed) + size, Ordering::Relaxed);
}

fn freed(size: usize) {
    LIVE.fetch_sub(size.cast_signed(), Ordering::Relaxed);
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocated(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        freed(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        freed(layout.size());
        allocated(size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// What a piece of work did to the heap, whichever threads did it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    /// Number of allocations.
    pub(crate) allocations: usize,
    /// The largest of them, in bytes.
    pub(crate) largest: usize,
    /// Most bytes that were in use at once, beyond those at the beginning.
    pub(crate) peak: isize,
}

/// Bytes in use.
pub(crate) fn live() -> isize {
    LIVE.load(Ordering::SeqCst)
}

pub(crate) fn measure(work: impl FnOnce()) -> Use {
    let before = live();
    ALLOCATIONS.store(0, Ordering::SeqCst);
    LARGEST.store(0, Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    work();
    Use {
        allocations: ALLOCATIONS.load(Ordering::SeqCst),
        largest: LARGEST.load(Ordering::SeqCst),
        peak: PEAK.load(Ordering::SeqCst) - before,
    }
}
