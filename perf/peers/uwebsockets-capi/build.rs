//! Links what the static library of uWebSockets needs. Its objects are GCC's LTO form, which lld cannot read.

fn main() {
    println!("cargo:rustc-link-arg=-fuse-ld=bfd");
    for library in ["z", "uv", "ssl", "crypto", "stdc++"] {
        println!("cargo:rustc-link-lib={library}");
    }
}
