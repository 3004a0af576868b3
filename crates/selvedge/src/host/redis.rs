//! Commands to a Redis server, and what it answers.

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisCommand {
    /// Its name, such as `PUBLISH`.
    pub name: &'static str,
    /// Its arguments.
    pub arguments: Vec<Vec<u8>>,
}

impl RedisCommand {
    /// A command without arguments.
    ///
    /// ```
    /// use selvedge::host::RedisCommand;
    ///
    /// let command = RedisCommand::new("PUBLISH").with("todos").with(b"{}".to_vec());
    /// assert_eq!(command.arguments, [b"todos".to_vec(), b"{}".to_vec()]);
    /// ```
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            arguments: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn with(mut self, argument: impl Into<Vec<u8>>) -> Self {
        self.arguments.push(argument.into());
        self
    }
}

/// What the server answered to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisAnswer {
    /// A number.
    Number(i64),
    /// Anything else that says that the command was run.
    Done,
    /// It wasn't run, for this reason in the server's or the host's words.
    Refused(String),
}
