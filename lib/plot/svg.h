/* What every SVG picture shares: head, style sheet, text, numbers. Indoors of plot/. */
#ifndef MOE_PLOT_SVG_H
#define MOE_PLOT_SVG_H

#include "base/str.h"

enum moe_svg_anchor { MOE_SVG_START, MOE_SVG_MIDDLE, MOE_SVG_END };

/* A colour of the light and of the dark style, 0xrrggbb. */
struct moe_svg_colour {
	unsigned light, dark;
};

/* Opens the picture, names it for screen readers, starts the style sheet. */
void moe_svg_begin(struct moe_buf *out, double width, double height, const char *title, const char *subtitle);
/* Adds fill rules .<prefix><i> for n colours to the open style sheet. */
void moe_svg_fills(struct moe_buf *out, const char *prefix, const struct moe_svg_colour *colours, int n);
/* Closes the style sheet; paints the paper, and the title and subtitle at x. */
void moe_svg_body(struct moe_buf *out, double width, double height, double x, const char *title, const char *subtitle);
void moe_svg_end(struct moe_buf *out);

/* Any bytes as XML text: markup escaped, what XML forbids or is not UTF-8 as U+FFFD. At most max_chars characters,
 * then an ellipsis. */
void moe_svg_escape(struct moe_buf *out, const char *text, int max_chars);
/* Text with its baseline at (x, y); class is one of the style sheet's. */
void moe_svg_text(struct moe_buf *out, double x, double y, enum moe_svg_anchor anchor, const char *class,
                  const char *text, int max_chars);
/* A coordinate, to a hundredth, the same in every locale. */
void moe_svg_number(struct moe_buf *out, double value);
/* "M x y h w v h h -w z", a piece of path data. */
void moe_svg_rect(struct moe_buf *out, double x, double y, double w, double h);
/* A line of class "line" or "mean". */
void moe_svg_line(struct moe_buf *out, double x1, double y1, double x2, double y2, const char *class);

/* Two colours mixed, t in [0, 1], channel by channel. */
struct moe_svg_colour moe_svg_mix(struct moe_svg_colour a, struct moe_svg_colour b, double t);
/* The smallest of 1 2 4 8 16 ... with steps of which n_items names of `item` pixels each stay `room` pixels apart. */
int moe_svg_step(double item, double room);
/* The next 1, 2 or 5 times a power of ten that is at least value. */
double moe_svg_round_up(double value);

#endif
