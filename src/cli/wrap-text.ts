/**
 * Breaks prose into lines. Must not know what it says.
 */

/** Lines of at most `width` columns where words allow it; blanks and line ends are the same. */
export function wrapText(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.trim().split(/\s+/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < width) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(word);
  }
  return lines;
}
