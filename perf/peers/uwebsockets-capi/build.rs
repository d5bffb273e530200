//! Links what the static library of uWebSockets needs, behind it, with a linker that reads GCC's LTO objects: lld does not.

fn main() {
    println!("cargo:rustc-link-arg=-fuse-ld=bfd");
    for library in ["z", "uv", "ssl", "crypto", "stdc++"] {
        println!("cargo:rustc-link-arg=-l{library}");
    }
}
