//! The allocator of this library's unit tests: counts what each thread allocates and holds. `tests/counting` is the same for tests beside the library.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static HELD_BYTES: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: everything is handed to the system's allocator unchanged; the counter is a plain cell without destructor. Growing a block
// comes through `alloc`, by the trait's default.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller keeps `GlobalAlloc`'s promises, which are the system allocator's.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        HELD_BYTES.with(|bytes| bytes.set(bytes.get().wrapping_add_unsigned(layout.size())));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    // SAFETY: as above.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD_BYTES.with(|bytes| bytes.set(bytes.get().wrapping_sub_unsigned(layout.size())));
        // SAFETY: the caller's promise is passed on; `alloc` above got the block from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What the calling thread has allocated, less what it has given back, bytes: for differences on one thread.
pub(crate) fn held_bytes() -> isize {
    HELD_BYTES.with(Cell::get)
}

/// Allocations of the calling thread since it began.
pub(crate) fn allocations_so_far() -> u64 {
    ALLOCATIONS.with(Cell::get)
}
