//! A report as a page of headings, sentences and tables, and the two ways it is
//! written out: Markdown, and one self-contained file of HTML.

/// What a page says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Page {
    title: String,
    blocks: Vec<Block>,
}

#[derive(Clone, Debug, PartialEq)]
enum Block {
    Heading(String),
    Subheading(String),
    /// The one thing to know of what follows.
    Headline(String),
    Paragraph(String),
    List(Vec<Item>),
    Table {
        header: Vec<String>,
        rows: Vec<Vec<String>>,
    },
}

/// A line of a list, with the command that explains it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) text: String,
    pub(super) command: String,
}

impl Page {
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), blocks: Vec::new() }
    }

    pub(super) fn heading(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Heading(text.into()));
    }

    pub(super) fn subheading(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Subheading(text.into()));
    }

    pub(super) fn headline(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Headline(text.into()));
    }

    pub(super) fn paragraph(&mut self, text: impl Into<String>) {
        self.blocks.push(Block::Paragraph(text.into()));
    }

    /// Nothing where there is nothing to list.
    pub(super) fn list(&mut self, items: Vec<Item>) {
        if !items.is_empty() {
            self.blocks.push(Block::List(items));
        }
    }

    pub(super) fn table(&mut self, header: &[&str], rows: Vec<Vec<String>>) {
        let header = header.iter().map(|&name| name.to_owned()).collect();
        self.blocks.push(Block::Table { header, rows });
    }

    /// The page as Markdown.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("# {}\n", markdown(&self.title));
        for block in &self.blocks {
            text.push('\n');
            match block {
                Block::Heading(heading) => text += &format!("## {}\n", markdown(heading)),
                Block::Subheading(heading) => text += &format!("### {}\n", markdown(heading)),
                Block::Headline(line) => text += &format!("**{}**\n", markdown(line)),
                Block::Paragraph(line) => text += &format!("{}\n", markdown(line)),
                Block::List(items) => {
                    for Item { text: line, command } in items {
                        text += &format!("- {}{}\n", markdown(line), markdown_command(command));
                    }
                }
                Block::Table { header, rows } => {
                    text += &markdown_row(header);
                    text += &markdown_row(&vec!["---".to_owned(); header.len()]);
                    for row in rows {
                        let cells: Vec<_> = row.iter().map(|cell| markdown(cell)).collect();
                        text += &markdown_row(&cells);
                    }
                }
            }
        }
        text
    }

    /// The page as one file that needs nothing else.
    pub(super) fn html(&self) -> String {
        let title = html(&self.title);
        let mut text = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        );
        for block in &self.blocks {
            match block {
                Block::Heading(heading) => text += &format!("<h2>{}</h2>\n", html(heading)),
                Block::Subheading(heading) => text += &format!("<h3>{}</h3>\n", html(heading)),
                Block::Headline(line) => {
                    text += &format!("<p class=\"headline\">{}</p>\n", html(line));
                }
                Block::Paragraph(line) => text += &format!("<p>{}</p>\n", html(line)),
                Block::List(items) => {
                    text += "<ul>\n";
                    for Item { text: line, command } in items {
                        text += &format!("<li>{}{}</li>\n", html(line), html_command(command));
                    }
                    text += "</ul>\n";
                }
                Block::Table { header, rows } => {
                    text += "<table>\n<thead>";
                    text += &html_row("th", header);
                    text += "</thead>\n<tbody>\n";
                    for row in rows {
                        text += &html_row("td", row);
                    }
                    text += "</tbody>\n</table>\n";
                }
            }
        }
        text += "</body>\n</html>\n";
        text
    }
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
padding:0 1rem;color:#1b1f24}table{border-collapse:collapse;width:100%}th,td{text-align:left;\
padding:.35rem .6rem;border-bottom:1px solid #d0d7de}.headline{font-size:1.2rem;font-weight:600}\
code{font-size:.85em;color:#57606a;overflow-wrap:anywhere}";

/// Text that Markdown takes as it is: on one line, with its marks escaped.
fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '\n' | '\r' | '\t' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

fn markdown_command(command: &str) -> String {
    if command.is_empty() { String::new() } else { format!(" (`{}`)", command.replace('`', "'")) }
}

fn markdown_row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Text that HTML takes as it is, between tags.
fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn html_command(command: &str) -> String {
    if command.is_empty() { String::new() } else { format!(" <code>{}</code>", html(command)) }
}

fn html_row(cell: &str, row: &[String]) -> String {
    let cells: String = row.iter().map(|text| format!("<{cell}>{}</{cell}>", html(text))).collect();
    format!("<tr>{cells}</tr>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_stays_text_in_either_form() {
        let mut page = Page::new("Week <b>9</b>");
        page.table(&["note"], vec![vec!["a|b\n<script>alert('x')</script>".to_owned()]]);
        page.list(vec![Item { text: "5 > 4".to_owned(), command: "northstar \"q\"".to_owned() }]);
        let (markdown, html) = (page.markdown(), page.html());
        assert!(markdown.contains("| a\\|b \\<script\\>alert('x')\\</script\\> |"), "{markdown}");
        assert!(html.contains("<td>a|b\n&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;</td>"));
        assert!(html.contains("<code>northstar &quot;q&quot;</code>"));
        assert!(!html.contains("<script") && !html.contains("<b>"));
        assert!(!html.contains("src=") && !html.contains("href="), "it needs nothing else");
    }

    #[test]
    fn an_empty_list_is_not_there() {
        let mut page = Page::new("Nothing");
        page.list(Vec::new());
        assert_eq!(page.markdown(), "# Nothing\n");
    }
}
