//! The latency harness of femtows: one load generator, many WebSocket servers, each in a process of its own.
//!
//! `compare` ([`compare`]) takes rows ([`modes`]) and subjects ([`subject`], from the registry in [`peers`]), starts a server
//! ([`server`]), drives it ([`generator`]), asks the kernel what it used ([`accounting`], [`strace`]) or counts its instructions
//! ([`callgrind`]), and writes tables and charts ([`report`], [`charts`]).

mod accounting;
mod callgrind;
mod charts;
mod cli;
mod compare;
mod generator;
mod handshake;
mod machine;
mod modes;
mod peers;
mod plan;
mod report;
mod results;
mod serve;
mod server;
mod size;
mod strace;
mod subject;
mod sys;
mod tls;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use cli::{Cli, Command, CompareArgs, ServeCommand};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("perf: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Compare(args) => compare(&args),
        Command::Peers => {
            list_peers();
            Ok(())
        }
        Command::Report { file } => {
            let results = report::read(&file)?;
            report::write(&results, file.parent().unwrap_or(Path::new(".")))
        }
        Command::Serve { server } => {
            sys::raise_open_files().context("cannot raise the limit of open files")?;
            match server {
                ServeCommand::Limit(args) => match args.tls() {
                    None => serve::limit::serve(args.port, args.spin),
                    Some((certificate, key)) => {
                        serve::limit_tls::serve(args.port, args.spin, tls::server_config(certificate, key)?)
                    }
                },
                ServeCommand::Femtows { args, api, deflate } => {
                    serve::femtows::serve(args.port, args.spin, api, deflate, args.tls())
                }
            }
        }
        Command::Client { kind, port, size, millis } => {
            modes::run_client(kind, port, size, Duration::from_millis(millis))
        }
    }
}

fn compare(args: &CompareArgs) -> Result<()> {
    let open_files = sys::raise_open_files().context("cannot raise the limit of open files")?;
    let cores = sys::allowed_cores().context("cannot ask for cores")?;
    let machine = machine::Machine::describe(cores.len());
    let (comparison, skipped) = plan::plan(args, &cores, open_files)?;
    for skipped in &skipped {
        eprintln!("left out: {} of {}: {}", skipped.name, skipped.what, skipped.reason);
    }
    let command = std::env::args().skip(1).fold("perf".to_owned(), |line, arg| line + " " + &arg);
    let results = comparison.run(command, machine, skipped);
    let folder = args.out.clone().unwrap_or_else(|| peers::perf_dir().join("results"));
    report::write(&results, &folder)?;
    println!("{}", report::summary(&results));
    println!("tables, figures and charts: {}", folder.display());
    Ok(())
}

fn list_peers() {
    for peer in peers::all() {
        let state =
            peer.locate().map_or_else(|reason| format!("not installed: {reason}"), |_| "ready".into());
        println!("{:<20} {:<12} {state}", peer.name, peer.language);
        println!("{:<20} {}", "", peer.notes);
    }
}
