//! The size of the pages that the process's memory comes in.

/// Refuses huge pages for this process, from now on; called first of all.
///
/// The allocator asks the kernel for pages of 2 MB. What a connection holds is spread over many of them, so they cost memory that nobody
/// uses: 10 MB at rest and 12 kB a publisher (56 kB against 44 kB, 500 publishers of 3 Mbit/s), and saved no processor time that
/// could be measured. A kernel that refuses changes nothing.
pub fn use_small_pages() {
    let none: libc::c_ulong = 0;
    let yes: libc::c_ulong = 1;
    // SAFETY: this option of the call reads four numbers, of the type that they have here, and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, yes, none, none, none) };
}
