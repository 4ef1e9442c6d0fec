//! TLS: the only module that names rustls.
