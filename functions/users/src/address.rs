//! Email addresses: what one looks like, and that no two open accounts have the same.
//!
//! The journal's triggers keep a row per address that is in use. They are part of the statement that appends the event:
//! when the address is taken nothing is appended, however many register it at the same moment.

use selvedge::schema::Tables;

pub const TABLES: Tables = Tables {
    owner: "users",
    migrations: &[&[
        "CREATE TABLE IF NOT EXISTS users_emails (
            email TEXT NOT NULL PRIMARY KEY,
            account TEXT NOT NULL
        )",
        "CREATE INDEX IF NOT EXISTS users_emails_by_account ON users_emails (account)",
        "CREATE TRIGGER IF NOT EXISTS users_email_taken AFTER INSERT ON journal
        WHEN NEW.type = 'users.account.registered' AND NEW.source = '/users' BEGIN
            INSERT INTO users_emails (email, account) VALUES (json_extract(NEW.data, '$.email'), NEW.stream);
        END",
        "CREATE TRIGGER IF NOT EXISTS users_email_freed AFTER INSERT ON journal
        WHEN NEW.type = 'users.account.closed' AND NEW.source = '/users' BEGIN
            DELETE FROM users_emails WHERE account = NEW.stream;
        END",
    ]],
};

/// What a mail server takes at most.
const EMAIL_BYTES_MAX: usize = 254;
const LOCAL_PART_BYTES_MAX: usize = 64;

/// Whether this is the constraint that an address is in use.
pub fn is_taken(columns: &str) -> bool {
    columns.contains("users_emails.email")
}

/// The address in lower case, in which it is kept and compared. Whether mail arrives there only a mail can tell, so only
/// what can't be an address is refused.
pub fn check(email: &str) -> Result<String, String> {
    if email.is_empty() {
        return Err("is missing: send an address such as ada@example.org".to_owned());
    }
    if email.chars().any(|char| char.is_whitespace() || char.is_control()) {
        return Err("has spaces or control characters: leave them out".to_owned());
    }
    let email = email.to_lowercase();
    if email.len() > EMAIL_BYTES_MAX {
        return Err(format!(
            "has {} bytes, the limit is {EMAIL_BYTES_MAX}: use a shorter address",
            email.len()
        ));
    }
    let is_address = email.split_once('@').is_some_and(|(local, domain)| {
        (1..=LOCAL_PART_BYTES_MAX).contains(&local.len()) && !domain.is_empty() && !domain.contains('@')
    });
    if is_address {
        Ok(email)
    } else {
        Err("isn't an address: it needs one @ with a name before it and a domain after it".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_kept_in_lower_case() {
        for (email, kept) in [
            ("ada@example.org", "ada@example.org"),
            ("Ada.Lovelace+Todos@Example.ORG", "ada.lovelace+todos@example.org"),
            ("JÜRGEN@münchen.de", "jürgen@münchen.de"),
            ("root@localhost", "root@localhost"),
        ] {
            assert_eq!(check(email).as_deref(), Ok(kept));
        }
        assert!(check(&format!("{}@example.org", "a".repeat(64))).is_ok());
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        let (long_local, long) = (
            format!("{}@example.org", "a".repeat(65)),
            format!("a@{}", "b".repeat(253)),
        );
        for email in [
            "",
            "ada",
            "@",
            "ada@",
            "@example.org",
            "a@b@c",
            "a b@c",
            " a@c",
            "a@c\n",
            "a\0@c",
            "a\u{a0}@c",
            &long_local,
            &long,
        ] {
            assert!(check(email).is_err(), "{email:?}");
        }
    }
}
