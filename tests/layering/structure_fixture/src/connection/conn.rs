pub(crate) struct Conn {
    inner: u8,
    pub(super) visible: u8,
    pub(crate) more: u8,
    pub most: u8,
}

impl Conn {
    fn four_lines() {
        let one = 1;
        drop(one);
    }
}
