//! A small table printer.

use engine::printable;

use super::{Style, Tone, columns, padded};

/// Rows under their headings, columns aligned to the left, two spaces between them. Cells
/// are escaped. A row may be shorter than the headings; what is beyond them is left out.
pub fn table(headings: &[&str], rows: &[Vec<String>], style: Style) -> String {
    let rows: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let mut widths: Vec<usize> = headings.iter().map(|heading| columns(heading)).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = columns(cell).max(*width);
        }
    }
    let line = |cells: &[&str]| {
        let cells: Vec<_> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| padded(cell, *width))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    let mut text = style.paint(Tone::Strong, &line(headings)) + "\n";
    for row in &rows {
        text += &line(&row.iter().map(|cell| &**cell).collect::<Vec<_>>());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_escaped() {
        let rows = [
            vec![
                "/usr/bin/mutt".to_owned(),
                "mailer".to_owned(),
                "batch".to_owned(),
            ],
            vec!["/opt/関守".to_owned(), "chat".to_owned()],
            vec![
                "/x\x1b[0m".to_owned(),
                "shell".to_owned(),
                String::new(),
                "beyond".to_owned(),
            ],
        ];
        assert_eq!(
            table(&["PROGRAM", "ROLE", "KIND"], &rows, Style::default()),
            "\
PROGRAM        ROLE    KIND
/usr/bin/mutt  mailer  batch
/opt/関守      chat
/x\\x1b[0m      shell
"
        );
    }
}
