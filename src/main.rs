//! The program. Everything is in the library.

//!
//! The allocator is the system's. Measured with 5,000 connections with mutual TLS, after one GET
//! each, glibc 2.36, jemalloc 5.3 (tikv-jemallocator 0.6.1) and mimalloc (0.1.52) take 12.4, 12.1 and
//! 12.7 KB a connection on top of 11, 14 and 27 MB; when all have closed, 73, 43 and 90 MB are left,
//! and serve the next ones. A GET costs the same processor time with each; in pipelines of 16,
//! jemalloc spares 4 % and mimalloc 6 %. That is not worth a second C library to build and to follow:
//! where it is, LD_PRELOAD exchanges the allocator.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    respgate::cli::main()
}
