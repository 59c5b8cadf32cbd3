/* What every SVG picture shares. Colours are classes with rules for light and dark, because presentation attributes
 * cannot follow prefers-color-scheme; no CSS variables, because several renderers do not know them. */
#include "plot/svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

void moe_svg_number(struct moe_buf *out, double value)
{
	long hundredths = lround(value * 100), whole = labs(hundredths) / 100, part = labs(hundredths) % 100;

	moe_buf_addf(out, "%s%ld", hundredths < 0 ? "-" : "", whole);
	if (part % 10)
		moe_buf_addf(out, ".%02ld", part);
	else if (part)
		moe_buf_addf(out, ".%ld", part / 10);
}

static void attribute(struct moe_buf *out, const char *name, double value)
{
	moe_buf_addf(out, " %s=\"", name);
	moe_svg_number(out, value);
	moe_buf_addc(out, '"');
}

/* Char of XML 1.0, section 2.2. */
static bool is_xml(utf8proc_int32_t c)
{
	return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c <= 0xd7ff) || (c >= 0xe000 && c <= 0xfffd) ||
	       c >= 0x10000;
}

void moe_svg_escape(struct moe_buf *out, const char *text, int max_chars)
{
	const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)text;
	size_t n = strlen(text);

	for (int i = 0; n > 0; i++) {
		utf8proc_int32_t c;
		utf8proc_ssize_t used = utf8proc_iterate(p, (utf8proc_ssize_t)n, &c);

		if (i == max_chars) {
			moe_buf_adds(out, "\xe2\x80\xa6");
			return;
		}
		if (used < 1 || !is_xml(c)) {
			moe_buf_adds(out, "\xef\xbf\xbd");
			if (used < 1)
				used = 1;
		} else if (c == '&') {
			moe_buf_adds(out, "&amp;");
		} else if (c == '<') {
			moe_buf_adds(out, "&lt;");
		} else if (c == '>') {
			moe_buf_adds(out, "&gt;");
		} else if (c == '"') {
			moe_buf_adds(out, "&quot;");
		} else {
			moe_buf_add(out, p, (size_t)used);
		}
		p += used;
		n -= (size_t)used;
	}
}

void moe_svg_begin(struct moe_buf *out, double width, double height, const char *title, const char *subtitle)
{
	moe_buf_adds(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"");
	attribute(out, "width", width);
	attribute(out, "height", height);
	moe_buf_adds(out, " viewBox=\"0 0 ");
	moe_svg_number(out, width);
	moe_buf_addc(out, ' ');
	moe_svg_number(out, height);
	moe_buf_adds(out, "\" role=\"img\">\n<title>");
	moe_svg_escape(out, title, 1000);
	moe_buf_adds(out, "</title>\n<desc>");
	moe_svg_escape(out, subtitle, 1000);
	moe_buf_adds(out, "</desc>\n<style>\n"
	                  "text{font-family:'DejaVu Sans',Verdana,Arial,sans-serif;font-size:11px;fill:#222}\n"
	                  ".title{font-size:15px;font-weight:bold}\n"
	                  ".soft{fill:#5a5a5a}\n"
	                  ".paper{fill:#fff}\n"
	                  ".dot{fill:#8a8a8a}\n"
	                  ".line{stroke:#8a8a8a;stroke-width:1;fill:none}\n"
	                  ".mean{stroke:#111;stroke-width:1;stroke-dasharray:4 3;fill:none}\n"
	                  "@media (prefers-color-scheme:dark){\n"
	                  "text{fill:#e6e6e6}.soft{fill:#a8a8a8}.paper{fill:#15171b}.dot{fill:#8a8a8a}\n"
	                  ".line{stroke:#7a7a7a}.mean{stroke:#f2f2f2}\n"
	                  "}\n");
}

void moe_svg_fills(struct moe_buf *out, const char *prefix, const struct moe_svg_colour *colours, int n)
{
	for (int i = 0; i < n; i++)
		moe_buf_addf(out, ".%s%d{fill:#%06x}\n", prefix, i, colours[i].light);
	moe_buf_adds(out, "@media (prefers-color-scheme:dark){\n");
	for (int i = 0; i < n; i++)
		moe_buf_addf(out, ".%s%d{fill:#%06x}\n", prefix, i, colours[i].dark);
	moe_buf_adds(out, "}\n");
}

void moe_svg_body(struct moe_buf *out, double width, double height, double x, const char *title, const char *subtitle)
{
	moe_buf_adds(out, "</style>\n<path class=\"paper\" d=\"");
	moe_svg_rect(out, 0, 0, width, height);
	moe_buf_adds(out, "\"/>\n");
	moe_svg_text(out, x, 26, MOE_SVG_START, "title", title, (int)((width - x) / 9.2));
	moe_svg_text(out, x, 44, MOE_SVG_START, "soft", subtitle, (int)((width - x) / 6.4));
}

void moe_svg_end(struct moe_buf *out) { moe_buf_adds(out, "</svg>\n"); }

void moe_svg_text(struct moe_buf *out, double x, double y, enum moe_svg_anchor anchor, const char *class,
                  const char *text, int max_chars)
{
	static const char *const names[] = {"start", "middle", "end"};

	moe_buf_addf(out, "<text class=\"%s\" text-anchor=\"%s\"", class, names[anchor]);
	attribute(out, "x", x);
	attribute(out, "y", y);
	moe_buf_addc(out, '>');
	moe_svg_escape(out, text, max_chars);
	moe_buf_adds(out, "</text>\n");
}

void moe_svg_rect(struct moe_buf *out, double x, double y, double w, double h)
{
	moe_buf_addc(out, 'M');
	moe_svg_number(out, x);
	moe_buf_addc(out, ' ');
	moe_svg_number(out, y);
	moe_buf_addc(out, 'h');
	moe_svg_number(out, w);
	moe_buf_addc(out, 'v');
	moe_svg_number(out, h);
	moe_buf_addc(out, 'h');
	moe_svg_number(out, -w);
	moe_buf_addc(out, 'z');
}

void moe_svg_line(struct moe_buf *out, double x1, double y1, double x2, double y2, const char *class)
{
	moe_buf_addf(out, "<line class=\"%s\"", class);
	attribute(out, "x1", x1);
	attribute(out, "y1", y1);
	attribute(out, "x2", x2);
	attribute(out, "y2", y2);
	moe_buf_adds(out, "/>\n");
}

static unsigned mix(unsigned a, unsigned b, double t)
{
	unsigned out = 0;

	for (int shift = 0; shift < 24; shift += 8) {
		double from = a >> shift & 255, to = b >> shift & 255;

		out |= (unsigned)lround(from + (to - from) * t) << shift;
	}
	return out;
}

struct moe_svg_colour moe_svg_mix(struct moe_svg_colour a, struct moe_svg_colour b, double t)
{
	return (struct moe_svg_colour){mix(a.light, b.light, t), mix(a.dark, b.dark, t)};
}

int moe_svg_step(double item, double room)
{
	int step = 1;

	while (step < 1 << 20 && item * step < room)
		step *= 2;
	return step;
}

double moe_svg_round_up(double value)
{
	double unit;

	if (!(value > 0) || !isfinite(value))
		return 1;
	unit = pow(10, floor(log10(value)));
	if (value <= unit)
		return unit;
	return value <= 2 * unit ? 2 * unit : value <= 5 * unit ? 5 * unit : 10 * unit;
}
