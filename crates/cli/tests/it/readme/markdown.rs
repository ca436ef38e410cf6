//! Sections, blocks, commands and tables of a README.

use std::iter::Peekable;

/// What stands between two headings of the first or second level.
pub struct Section {
    /// The heading.
    pub title: String,
    /// Its blocks and tables, from top to bottom.
    pub elements: Vec<Element>,
}

/// What a README shows.
pub enum Element {
    /// A fenced block: its language, and its text.
    Block(String, String),
    /// A table.
    Table(Table),
}

/// A table, without the white space and the line below its header.
pub struct Table {
    /// Names of the columns.
    pub header: Vec<String>,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Where a column is.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    /// Reads a table whose header is a line; the others follow.
    fn read<'a>(header: &'a str, lines: &mut Peekable<impl Iterator<Item = &'a str>>) -> Self {
        let header = cells(header);
        // The line below the header.
        lines.next();
        let mut rows = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with('|')) {
            let row = cells(line);
            assert_eq!(row.len(), header.len(), "{line}");
            rows.push(row);
        }
        Self { header, rows }
    }
}

/// The cells of a row; a bar in a cell is written `\|`.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().replace("\\|", "\0");
    let row = line.strip_prefix('|').unwrap_or(&line);
    let row = row.strip_suffix('|').unwrap_or(row);
    row.split('|').map(|cell| cell.trim().replace('\0', "|")).collect()
}

/// The sections of a README.
pub fn sections(readme: &str) -> Vec<Section> {
    let mut sections = vec![Section { title: String::new(), elements: Vec::new() }];
    let mut lines = readme.lines().peekable();
    while let Some(line) = lines.next() {
        let section = sections.last_mut().expect("there is one");
        if let Some(language) = line.strip_prefix("```") {
            let body: String = lines
                .by_ref()
                .take_while(|line| *line != "```")
                .flat_map(|line| [line, "\n"])
                .collect();
            section.elements.push(Element::Block(language.to_owned(), body));
        } else if line.starts_with('|') {
            section.elements.push(Element::Table(Table::read(line, &mut lines)));
        } else if let Some(title) = line.strip_prefix("# ").or_else(|| line.strip_prefix("## ")) {
            sections.push(Section { title: title.to_owned(), elements: Vec::new() });
        }
    }
    sections
}

/// The blocks of one language.
pub fn blocks_of(readme: &str, language: &str) -> Vec<String> {
    let elements = sections(readme).into_iter().flat_map(|section| section.elements);
    elements
        .filter_map(|element| match element {
            Element::Block(of, body) if of == language => Some(body),
            Element::Block(..) | Element::Table(_) => None,
        })
        .collect()
}

/// The commands of a console block without what they print: a line after `$ ` with those that it goes on in, because a
/// quote is open or it ends with a backslash, and what a here-document holds.
pub fn commands(block: &str) -> String {
    split(block).0
}

/// What the commands of a console block print.
pub fn shown(block: &str) -> Vec<&str> {
    split(block).1
}

fn split(block: &str) -> (String, Vec<&str>) {
    let (mut script, mut shown) = (String::new(), Vec::new());
    let (mut in_document, mut goes_on) = (false, false);
    let mut quotes = 0;
    for line in block.lines() {
        let command = line.strip_prefix("$ ");
        if in_document || goes_on || command.is_some() {
            script.push_str(command.unwrap_or(line));
            script.push('\n');
        } else {
            shown.push(line);
        }
        if in_document {
            in_document = line != "YAML";
        } else if goes_on || command.is_some() {
            in_document = line.ends_with("<<'YAML'");
            quotes += if in_document { 0 } else { line.matches('\'').count() };
            goes_on = quotes % 2 == 1 || line.ends_with('\\');
        }
    }
    (script, shown)
}

/// What a cell shows as code; `None` where it shows something else.
pub fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}
