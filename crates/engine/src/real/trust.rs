//! Which certificates are trusted besides the ones that everybody trusts.

/// The file that the variable SSL_CERT_FILE of the environment names, as PEM: where it is set, brokers are trusted by these
/// certificates and no others, as they are by programs on OpenSSL (Spin is one). `None` when it isn't set; a file that can't be
/// read trusts nobody.
pub(super) fn own_certificates() -> Option<Vec<u8>> {
    let file = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty())?;
    let certificates = std::fs::read(&file);
    Some(certificates.unwrap_or_else(|error| {
        eprintln!(
            "error: SSL_CERT_FILE is {}, which can't be read: {error}",
            file.display()
        );
        Vec::new()
    }))
}
