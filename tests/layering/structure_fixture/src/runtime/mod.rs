pub(crate) struct LoopCore {
    pub visible: u8,
}

/// The type of a tuple's field is no name to use.
pub(crate) struct Token(pub(crate) u8);

fn outer() { fn inner() {
    let one = 1;
    let two = 2;
    drop((one, two));
} }
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
// A line more.
