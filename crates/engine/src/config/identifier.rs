//! Spin's rules for names: component ids, labels of stores, names of variables.

/// Whether `id` is a component id: words of ASCII letters and digits, joined by `-`, each starting with a letter and
/// all in one case. The error says which rule it breaks.
pub fn check_component_id(id: &str) -> Result<(), String> {
    check_words(id, '-', '_')
}

/// Whether `label` may name a store: like a component id, or the same with `_`.
pub fn check_label(label: &str) -> Result<(), String> {
    check_words(label, '-', '_').or_else(|problem| check_words(label, '_', '-').map_err(|_| problem))
}

/// Whether `name` may be declared as a variable in a manifest: lower-case words joined by `_`, each starting with a
/// letter.
pub fn check_variable_name(name: &str) -> Result<(), String> {
    check_words(name, '_', '-')?;
    match name.chars().find(char::is_ascii_uppercase) {
        Some(upper) => Err(format!("it must be lower-case, and has {upper:?}")),
        None => Ok(()),
    }
}

/// Whether a component may ask for a variable of that name: lower-case letters, digits and single `_` between them,
/// starting with a letter.
pub fn check_variable_key(key: &str) -> Result<(), String> {
    let allowed = |character: &char| character.is_ascii_lowercase() || character.is_ascii_digit() || *character == '_';
    if let Some(wrong) = key.chars().find(|character| !allowed(character)) {
        Err(format!(
            "it may hold lower-case letters, digits and underscores only, and has {wrong:?}"
        ))
    } else if !key.starts_with(|first: char| first.is_ascii_lowercase()) {
        Err("it must start with a lower-case letter".to_owned())
    } else if key.ends_with('_') {
        Err("it must end with a lower-case letter or a digit".to_owned())
    } else if key.contains("__") {
        Err("it must not hold two underscores in a row".to_owned())
    } else {
        Ok(())
    }
}

fn check_words(id: &str, delimiter: char, wrong_delimiter: char) -> Result<(), String> {
    if id.is_empty() {
        return Err("it must not be empty".to_owned());
    }
    if id.contains(wrong_delimiter) {
        return Err(format!(
            "its words must be joined by {delimiter:?}, not {wrong_delimiter:?}"
        ));
    }
    id.split(delimiter).try_for_each(|word| check_word(word, delimiter))
}

fn check_word(word: &str, delimiter: char) -> Result<(), String> {
    let Some(first) = word.chars().next() else {
        return Err(format!("there must be a word before and after each {delimiter:?}"));
    };
    if !first.is_ascii_alphabetic() {
        return Err(format!("each word must start with an ASCII letter, not with {first:?}"));
    }
    if let Some(wrong) = word.chars().find(|character| !character.is_ascii_alphanumeric()) {
        return Err(format!(
            "it may hold ASCII letters, digits and {delimiter:?} only, and has {wrong:?}"
        ));
    }
    let upper = word.chars().any(|character| character.is_ascii_uppercase());
    let lower = word.chars().any(|character| character.is_ascii_lowercase());
    match upper && lower {
        true => Err(format!("the word {word:?} must be all lower-case or all upper-case")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn component_ids_are_kebab_case() {
        for good in ["a", "todos", "outbox-cron", "a1-b2", "HTTP-server"] {
            assert_eq!(check_component_id(good), Ok(()), "{good}");
        }
        for bad in ["", "-", "a-", "-a", "a--b", "a_b", "1a", "a-1", "aB", "a.b", "é", "a b"] {
            assert!(check_component_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_kebab_or_snake_case() {
        for good in ["default", "my-store", "my_store"] {
            assert_eq!(check_label(good), Ok(()), "{good}");
        }
        for bad in ["", "my-store_2", "my store", "2nd", "my/store"] {
            assert!(check_label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables_are_lower_snake_case() {
        for good in ["a", "app_url", "a1_b2"] {
            assert_eq!(check_variable_name(good), Ok(()), "{good}");
            assert_eq!(check_variable_key(good), Ok(()), "{good}");
        }
        for bad in ["", "App", "APP_URL", "app-url", "_a", "a_", "a__b", "1a", "a.b"] {
            assert!(check_variable_name(bad).is_err(), "{bad}");
            assert!(check_variable_key(bad).is_err(), "{bad}");
        }
        assert!(
            check_variable_name("a_1").is_err(),
            "a declared name's words start with a letter"
        );
        assert_eq!(check_variable_key("a_1"), Ok(()), "a key's words need not");
    }
}
