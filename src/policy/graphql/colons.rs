//! Colons of arguments, input fields and variables, which the parser takes as optional: a name without one, and thus without
//! a value, is a syntax error (specification sections 2.6, 2.9.8 and 2.10).

use apollo_parser::{Lexer, TokenKind};

/// The line and column of the first such name; `None` if there is none.
pub(super) fn missing(text: &str) -> Option<(usize, usize)> {
    let tokens = Lexer::new(text).filter_map(Result::ok);
    let is_trivia = |kind| matches!(kind, TokenKind::Whitespace | TokenKind::Comment | TokenKind::Comma);
    let tokens = tokens.map(|token| (token.kind(), token.index()));
    let mut scan = Scan {
        tokens: tokens.filter(|(kind, _)| !is_trivia(*kind)).collect(),
        at: 0,
    };
    while let Some(kind) = scan.take() {
        if kind == TokenKind::LParen
            && let Err(Missing(place)) = scan.items(TokenKind::RParen)
        {
            let before = text.get(..place).unwrap_or_default();
            let line = before.rsplit('\n').next().unwrap_or_default();
            let lines = before.matches('\n').count();
            return Some((lines.saturating_add(1), line.chars().count().saturating_add(1)));
        }
    }
    None
}

struct Scan {
    tokens: Vec<(TokenKind, usize)>,
    at: usize,
}

/// Where there should be a colon, in bytes.
struct Missing(usize);

impl Scan {
    fn peek(&self) -> Option<TokenKind> {
        self.tokens.get(self.at).map(|(kind, _)| *kind)
    }

    fn take(&mut self) -> Option<TokenKind> {
        let kind = self.peek();
        self.at = self.at.saturating_add(1);
        kind
    }

    fn take_if(&mut self, kind: TokenKind) -> bool {
        let is_there = self.peek() == Some(kind);
        if is_there {
            self.take();
        }
        is_there
    }

    /// Names with values until a closing bracket. The parser has checked all but the colons, and the nesting.
    fn items(&mut self, close: TokenKind) -> Result<(), Missing> {
        while let Some(kind) = self.take() {
            if kind == close {
                break;
            }
            let is_variable = kind == TokenKind::Dollar && self.take_if(TokenKind::Name);
            if !is_variable && kind != TokenKind::Name {
                continue;
            }
            if !self.take_if(TokenKind::Colon) {
                let place = self.tokens.get(self.at).map(|(_, place)| *place);
                return Err(Missing(place.unwrap_or(usize::MAX)));
            }
            match is_variable {
                true => self.definition()?,
                false => self.value()?,
            }
        }
        Ok(())
    }

    /// The type of a variable, its default and its directives.
    fn definition(&mut self) -> Result<(), Missing> {
        while matches!(
            self.peek(),
            Some(TokenKind::Name | TokenKind::LBracket | TokenKind::RBracket | TokenKind::Bang)
        ) {
            self.take();
        }
        if self.take_if(TokenKind::Eq) {
            self.value()?;
        }
        while self.take_if(TokenKind::At) {
            self.take_if(TokenKind::Name);
            if self.take_if(TokenKind::LParen) {
                self.items(TokenKind::RParen)?;
            }
        }
        Ok(())
    }

    fn value(&mut self) -> Result<(), Missing> {
        match self.take() {
            Some(TokenKind::Dollar) => {
                self.take_if(TokenKind::Name);
            }
            Some(TokenKind::LCurly) => self.items(TokenKind::RCurly)?,
            Some(TokenKind::LBracket) => {
                while self.peek().is_some() && !self.take_if(TokenKind::RBracket) {
                    self.value()?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_value_is_found() {
        for (text, place) in [
            ("{ a(b: 1, c) { d } }", Some((1, 12))),
            ("{ a(b: {c: [1, {d: $e}], f}) }", Some((1, 27))),
            ("query(\n $a Int) { b }", Some((2, 5))),
            ("{ a @skip(if) }", Some((1, 13))),
            ("{ a(b: [", None),
            (
                "query($a: [Int!]! = [1] @d(e: {f: 2}), $b: C = D) { x: a(b: $b, c: {}, d: []) @skip(if: $a) { y } }",
                None,
            ),
            ("{ a(b: \"\"\"c(d)\"\"\") # (e)\n }", None),
        ] {
            assert_eq!(missing(text), place, "{text}");
        }
    }
}
