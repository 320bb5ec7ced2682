//! Reads Rust just well enough for the rules: words and marks without comments and literals, the
//! paths they spell, and which of them are tests.
//!
//! Decides no rule. A real parser would do more than is needed, and be one more dependency.

/// A source file as a row of tokens.
pub(crate) struct Source {
    tokens: Vec<Token>,
}

/// A token, and where it stands.
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    /// Whether it stands under `#[cfg(test)]`.
    pub(crate) is_test: bool,
}

/// What the rules tell apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier, a keyword or a number.
    Word(String),
    /// `::`.
    Separator,
    /// Any other character of code.
    Mark(char),
}

/// A path of at least two segments; groups are spelled out, `*` is a segment.
pub(crate) struct Path {
    pub(crate) line: usize,
    pub(crate) segments: Vec<String>,
    /// How many inline modules of its file it stands in.
    pub(crate) inline_depth: usize,
    pub(crate) is_test: bool,
}

impl Source {
    pub(crate) fn read(text: &str) -> Self {
        let mut tokens = Lexer::new(text).tokens();
        mark_tests(&mut tokens);
        Self { tokens }
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Where the words and marks of `pattern`, separated by spaces, follow one another.
    pub(crate) fn find<'a>(&'a self, pattern: &str) -> impl Iterator<Item = &'a Token> {
        let pattern: Vec<Kind> = pattern.split(' ').map(Kind::of).collect();
        self.tokens
            .windows(pattern.len())
            .filter(move |window| window.iter().map(|t| &t.kind).eq(&pattern))
            .map(|window| &window[0])
    }

    pub(crate) fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        // One entry for each open brace: whether it opened a module.
        let mut braces: Vec<bool> = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            match &self.tokens[at].kind {
                Kind::Mark('{') => braces.push(self.opens_module(at)),
                Kind::Mark('}') => drop(braces.pop()),
                Kind::Word(_) => {
                    let inline_depth = braces.iter().filter(|is_module| **is_module).count();
                    at = self.path(at, &[], inline_depth, &mut paths);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        paths
    }

    fn opens_module(&self, brace: usize) -> bool {
        let word = |at: Option<usize>| self.tokens.get(at?).map(|token| &token.kind);
        matches!(word(brace.checked_sub(2)), Some(Kind::Word(word)) if word == "mod")
    }

    /// Reads the path that begins at `at` below `prefix`; where to go on.
    fn path(
        &self,
        mut at: usize,
        prefix: &[String],
        inline_depth: usize,
        paths: &mut Vec<Path>,
    ) -> usize {
        let Token { line, is_test, .. } = self.tokens[at];
        let mut segments = prefix.to_vec();
        loop {
            match self.tokens.get(at).map(|token| &token.kind) {
                Some(Kind::Word(word)) => segments.push(word.clone()),
                Some(Kind::Mark('*')) => segments.push("*".to_owned()),
                Some(Kind::Mark('{')) => return self.group(at, &segments, inline_depth, paths),
                _ => break,
            }
            at += 1;
            if self.tokens.get(at).map(|token| &token.kind) != Some(&Kind::Separator) {
                break;
            }
            at += 1;
        }
        if segments.len() > 1 {
            paths.push(Path {
                line,
                segments,
                inline_depth,
                is_test,
            });
        }
        at
    }

    /// Reads the group that opens at `at`; the place after its end.
    fn group(
        &self,
        mut at: usize,
        prefix: &[String],
        inline_depth: usize,
        paths: &mut Vec<Path>,
    ) -> usize {
        at += 1;
        while let Some(token) = self.tokens.get(at) {
            at = match &token.kind {
                Kind::Mark('}') => return at + 1,
                // The new name of a rename is no path.
                Kind::Word(word) if word == "as" => at + 2,
                Kind::Word(_) | Kind::Mark('*' | '{') => self.path(at, prefix, inline_depth, paths),
                _ => at + 1,
            };
        }
        at
    }
}

impl Kind {
    fn of(text: &str) -> Self {
        match text {
            "::" => Self::Separator,
            _ if text.len() == 1 && !is_word(text.as_bytes()[0] as char) => {
                Self::Mark(text.as_bytes()[0] as char)
            }
            _ => Self::Word(text.to_owned()),
        }
    }
}

/// Marks the item after each `#[cfg(test)]`, up to its closing brace or semicolon.
fn mark_tests(tokens: &mut [Token]) {
    let cfg_test: Vec<Kind> = "# [ cfg ( test ) ]".split(' ').map(Kind::of).collect();
    let mut at = 0;
    while at + cfg_test.len() <= tokens.len() {
        let window = &tokens[at..at + cfg_test.len()];
        if !window.iter().map(|token| &token.kind).eq(&cfg_test) {
            at += 1;
            continue;
        }
        let mut depth = 0_usize;
        for token in &mut tokens[at..] {
            token.is_test = true;
            at += 1;
            match token.kind {
                Kind::Mark('{') => depth += 1,
                Kind::Mark('}') if depth == 1 => break,
                Kind::Mark('}') => depth = depth.saturating_sub(1),
                Kind::Mark(';') if depth == 0 => break,
                _ => {}
            }
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            line: 1,
            tokens: Vec::new(),
        }
    }

    fn tokens(mut self) -> Vec<Token> {
        while let Some(next) = self.rest.chars().next() {
            if self.rest.starts_with("//") {
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                self.skip(block_comment(self.rest));
            } else if let Some(length) = literal(self.rest) {
                self.skip(length);
            } else if self.rest.starts_with("::") {
                self.push(Kind::Separator, 2);
            } else if is_word(next) {
                let length = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
                self.push(Kind::Word(self.rest[..length].to_owned()), length);
            } else if next.is_whitespace() {
                self.skip(next.len_utf8());
            } else {
                self.push(Kind::Mark(next), next.len_utf8());
            }
        }
        self.tokens
    }

    fn push(&mut self, kind: Kind, length: usize) {
        self.tokens.push(Token {
            line: self.line,
            kind,
            is_test: false,
        });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the comment, nested ones included, at the beginning of `text`.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// The length of the string, character or lifetime at the beginning of `text`, if it is one.
fn literal(text: &str) -> Option<usize> {
    let word = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let (prefix, rest) = text.split_at(word);
    if matches!(prefix, "r" | "br" | "cr") {
        let hashes = rest.find(|c| c != '#').unwrap_or(0);
        let inside = rest[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = inside.find(&end).unwrap_or(inside.len() - end.len());
        return Some(word + hashes + 1 + length + end.len());
    }
    if !matches!(prefix, "" | "b" | "c") {
        return None;
    }
    match rest.chars().next()? {
        '"' => Some(word + quoted(rest, '"')),
        '\'' => {
            let mut inside = rest[1..].chars();
            let (first, second) = (inside.next()?, inside.next());
            let is_lifetime = first != '\\' && second != Some('\'');
            if is_lifetime {
                let name = rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1);
                return Some(word + 1 + name);
            }
            Some(word + quoted(rest, '\''))
        }
        _ => None,
    }
}

/// The length of a literal that begins and ends with `quote`, in which `\` escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}
