//! Rust source as tokens, as far as the rules need it: identifiers, punctuation, and what is none of it.
//!
//! Comments stay, since one rule asks for them; strings, characters, numbers and lifetimes become [`Kind::Other`], so that
//! nothing in them is taken for code. Source that does not compile may be cut into nonsense.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Identifier or keyword, without `r#`.
    Ident,
    /// One character of punctuation, or `::`, `->`, `=>`.
    Punct,
    /// Line or block comment, doc comments among them.
    Comment,
    /// Literal or lifetime.
    Other,
}

/// A token and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// As in the source; empty for [`Kind::Other`].
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
}

impl Token {
    /// Whether this is that identifier or punctuation.
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Ident | Kind::Punct) && self.text == text
    }
}

/// Cuts a source file into tokens.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { chars, at: 0, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token() {
        tokens.push(token);
    }
    tokens
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(i, c)| self.peek(i) == c)
    }

    fn advance(&mut self, count: usize) {
        let end = (self.at + count).min(self.chars.len());
        self.line += self.chars[self.at..end].iter().filter(|c| **c == '\n').count();
        self.at = end;
    }

    fn advance_while(&mut self, mut wanted: impl FnMut(char) -> bool) {
        while self.at < self.chars.len() && wanted(self.peek(0)) {
            self.advance(1);
        }
    }

    fn next_token(&mut self) -> Option<Token> {
        self.advance_while(char::is_whitespace);
        if self.at == self.chars.len() {
            return None;
        }
        let (start, line) = (self.at, self.line);
        let kind = self.skip_token();
        let text = match kind {
            Kind::Other => String::new(),
            _ => self.chars[start..self.at].iter().collect::<String>().trim_start_matches("r#").to_owned(),
        };
        Some(Token { kind, text, line })
    }

    /// Moves behind the token that begins here.
    fn skip_token(&mut self) -> Kind {
        if self.starts_with("//") {
            self.advance_while(|c| c != '\n');
            return Kind::Comment;
        }
        if self.starts_with("/*") {
            self.skip_block_comment();
            return Kind::Comment;
        }
        if let Some(prefix) = self.string_prefix() {
            self.skip_string(prefix);
            return Kind::Other;
        }
        match self.peek(0) {
            '\'' => {
                self.skip_quote();
                Kind::Other
            }
            'b' if self.peek(1) == '\'' => {
                self.advance(1);
                self.skip_quote();
                Kind::Other
            }
            'r' if self.peek(1) == '#' && is_ident_start(self.peek(2)) => {
                self.advance(2);
                self.advance_while(is_ident);
                Kind::Ident
            }
            c if is_ident_start(c) => {
                self.advance_while(is_ident);
                Kind::Ident
            }
            c if c.is_ascii_digit() => {
                self.advance_while(is_ident);
                Kind::Other
            }
            _ => {
                let pair = ["::", "->", "=>"].iter().any(|pair| self.starts_with(pair));
                self.advance(if pair { 2 } else { 1 });
                Kind::Punct
            }
        }
    }

    /// Block comments nest.
    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        loop {
            if self.starts_with("/*") {
                depth += 1;
                self.advance(2);
            } else if self.starts_with("*/") {
                depth -= 1;
                self.advance(2);
            } else {
                self.advance(1);
            }
            if depth == 0 || self.at == self.chars.len() {
                return;
            }
        }
    }

    /// Of a string that begins here: characters before its quote, and number signs if it is raw.
    fn string_prefix(&self) -> Option<(usize, Option<usize>)> {
        let letters = (0..3).take_while(|i| matches!(self.peek(*i), 'b' | 'c' | 'r')).count();
        let raw = letters > 0 && self.peek(letters - 1) == 'r';
        let signs = if raw { (letters..).take_while(|i| self.peek(*i) == '#').count() } else { 0 };
        (self.peek(letters + signs) == '"').then_some((letters + signs, raw.then_some(signs)))
    }

    fn skip_string(&mut self, (before_quote, raw): (usize, Option<usize>)) {
        self.advance(before_quote + 1);
        let end = format!("\"{}", "#".repeat(raw.unwrap_or(0)));
        while self.at < self.chars.len() && !self.starts_with(&end) {
            self.advance(if raw.is_none() && self.peek(0) == '\\' { 2 } else { 1 });
        }
        self.advance(end.len());
    }

    /// A character, or a lifetime, which has no second quote.
    fn skip_quote(&mut self) {
        if self.peek(1) != '\\' && self.peek(2) != '\'' {
            self.advance(1);
            self.advance_while(is_ident);
            return;
        }
        self.advance(1);
        self.advance(if self.peek(0) == '\\' { 2 } else { 1 });
        self.advance_while(|c| c != '\'');
        self.advance(1);
    }
}

fn is_ident_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn is_ident(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
