package plan

import "strings"

// opening returns the comment that data starts with, without its marks.
func opening(data []byte) string {
	// These are the line breaks of YAML.
	breaks := strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")
	var lines []string
	for line := range strings.SplitSeq(breaks.Replace(string(data)), "\n") {
		text, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		lines = append(lines, strings.TrimRight(strings.TrimPrefix(text, " "), " \t"))
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}

// comment is text as the comment that a file opens with.
func comment(text string) string {
	if text == "" {
		return ""
	}
	return strings.ReplaceAll("# "+strings.ReplaceAll(text, "\n", "\n# "), "# \n", "#\n") + "\n\n"
}

// prose joins the lines of each paragraph; lines that are indented stay as they are.
func prose(text string) string {
	flows := func(line string) bool { return line != "" && line[0] != ' ' && line[0] != '\t' }
	var b strings.Builder
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		switch {
		case i == 0:
		case flows(line) && flows(lines[i-1]):
			b.WriteByte(' ')
		default:
			b.WriteByte('\n')
		}
		b.WriteString(line)
	}
	return b.String()
}
