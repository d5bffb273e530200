//! Programs that do not compile, and the compiler's advice on them.
//!
//! Each file in `fixtures` is compiled against this build of the library. Lines that begin with `//~`
//! are to be found in the compiler's output; a file without such lines compiles. That one shows that
//! the others do not fail for another reason.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use std::{env, fs};

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|metadata| metadata.modified()).expect("the file is there")
}

/// Returns the directory of this build's dependencies, and the library in it that this test was built
/// with, or one that is newer: cargo keeps those of other features, and older ones.
fn library() -> (PathBuf, PathBuf) {
    let own = env::current_exe().expect("this program has a path");
    let directory = own.parent().expect("it is in a directory").to_path_buf();
    let files = fs::read_dir(&directory).expect("the directory can be read");
    let libraries = files.map(|file| file.expect("it can be read").path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libfemtows-") && name.ends_with(".rlib") && modified(path) <= modified(&own)
    });
    let library = libraries.max_by_key(|path| modified(path)).expect("the library was built");
    (directory, library)
}

/// Compiles a file. Returns whether it compiles, and what the compiler says.
fn compile(source: &Path) -> (bool, String) {
    let (directory, library) = library();
    let output = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--color=never", "-L"])
        .arg(format!("dependency={}", directory.display()))
        .arg("--extern")
        .arg(format!("femtows={}", library.display()))
        .arg("-o")
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join(source.file_stem().unwrap_or_default()))
        .arg(source)
        .output()
        .expect("the compiler runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn check(name: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics/fixtures").join(name);
    let text = fs::read_to_string(&source).expect("the fixture is there");
    let wanted: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("//~ ")).collect();
    let (compiles, output) = compile(&source);
    assert_eq!(compiles, wanted.is_empty(), "{output}");
    for line in wanted {
        assert!(output.contains(line), "{line:?} is missing in:\n{output}");
    }
}

#[test]
fn programs_of_the_right_shape_compile() {
    check("right.rs");
}

#[test]
fn a_message_listener_without_its_adapter_at_a_server() {
    check("unwrapped_at_a_server.rs");
}

#[test]
fn a_message_listener_without_its_adapter_at_a_client() {
    check("unwrapped_at_a_client.rs");
}

#[test]
fn a_handler_that_borrows_its_connection() {
    check("borrowing_handler.rs");
}

#[test]
fn a_handler_that_is_not_async() {
    check("blocking_handler.rs");
}

#[test]
fn a_handler_that_returns_a_value() {
    check("handler_with_a_value.rs");
}

#[test]
fn a_route_with_a_handler_of_the_wrong_argument() {
    check("wrong_argument.rs");
}

#[test]
fn a_route_with_a_handler_that_returns_a_value() {
    check("route_with_a_value.rs");
}

#[test]
fn an_async_closure_is_a_handler() {
    check("closure.rs");
}
