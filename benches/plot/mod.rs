//! A line plot as SVG: a logarithmic x axis that may begin with a zero, a y axis from zero.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = 58.0;
/// Told apart without colours too: each series has its own marker.
const COLOURS: [&str; 2] = ["#1f5fa8", "#b5541c"];

/// A plot.
pub struct Plot {
    pub title: String,
    pub subtitle: String,
    pub x: &'static str,
    pub y: &'static str,
    pub series: Vec<Series>,
    /// A bound, drawn dashed: its value and what it says.
    pub bound: Option<(f64, String)>,
}

/// A line of a plot, its points in the order of x.
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// From values to places.
struct Scale {
    /// The decade that the axis begins with; a zero stands half a decade before it.
    first: f64,
    decades: f64,
    top: f64,
}

impl Scale {
    fn x(&self, value: f64) -> f64 {
        let place = if value > 0.0 { value.log10() } else { self.first };
        LEFT + (place - self.first) / self.decades * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)
    }
}

impl Plot {
    pub fn svg(&self) -> String {
        let scale = self.scale();
        let mut svg = format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui,sans-serif" font-size="12" fill="#333">
<title>{title}</title>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
<text x="{LEFT}" y="24" font-size="15" font-weight="600">{title}</text>
<text x="{LEFT}" y="42" fill="#666">{subtitle}</text>
"##,
            title = escaped(&self.title),
            subtitle = escaped(&self.subtitle),
        );
        self.y_axis(&mut svg, &scale);
        self.x_axis(&mut svg, &scale);
        self.draw_bound(&mut svg, &scale);
        for (index, series) in self.series.iter().enumerate() {
            draw_series(&mut svg, &scale, index, series);
        }
        svg + "</svg>\n"
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().flat_map(|series| series.points.iter().copied())
    }

    fn scale(&self) -> Scale {
        let positive = || self.points().map(|(x, _)| x).filter(|x| *x > 0.0);
        let (low, high) = (positive().fold(f64::MAX, f64::min), positive().fold(1.0, f64::max));
        // Room for the zero, when there is one.
        let room = if self.points().any(|(x, _)| x == 0.0) { 0.5 } else { 0.0 };
        let first = low.log10().floor() - room;
        let highest = self.points().map(|(_, y)| y).chain(self.bound.iter().map(|(y, _)| *y));
        // A quarter of the height is for the legend.
        Scale {
            first,
            decades: high.log10() - first + 0.1,
            top: highest.fold(f64::MIN_POSITIVE, f64::max) * 1.3,
        }
    }

    fn y_axis(&self, svg: &mut String, scale: &Scale) {
        let step = round_step(scale.top / 5.0);
        let (left, right) = (LEFT - 8.0, WIDTH - RIGHT);
        let decimals = if step < 1.0 { -step.log10().floor() as usize } else { 0 };
        for tick in (0..).map(|index| f64::from(index) * step).take_while(|value| *value <= scale.top) {
            let y = scale.y(tick);
            let _ = writeln!(
                svg,
                r##"<path d="M{LEFT} {y:.1}H{right}" stroke="#e4e4e4"/><text x="{left}" y="{:.1}" text-anchor="end">{tick:.decimals$}</text>"##,
                y + 4.0,
            );
        }
        let middle = (TOP + HEIGHT - BOTTOM) / 2.0;
        let _ = writeln!(
            svg,
            r#"<text transform="translate(16 {middle})rotate(-90)" text-anchor="middle">{}</text>"#,
            escaped(self.y),
        );
    }

    fn x_axis(&self, svg: &mut String, scale: &Scale) {
        let base = HEIGHT - BOTTOM;
        let _ = writeln!(svg, r##"<path d="M{LEFT} {base}H{}" stroke="#333"/>"##, WIDTH - RIGHT);
        let mut ticks: Vec<f64> = self.points().map(|(x, _)| x).collect();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        for tick in ticks {
            let _ = writeln!(
                svg,
                r##"<path d="M{x:.1} {base}v5" stroke="#333"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"##,
                base + 19.0,
                grouped(tick),
                x = scale.x(tick),
            );
        }
        if self.points().any(|(x, _)| x == 0.0) {
            // The axis is broken between zero and the first decade.
            let at = (scale.x(0.0) + scale.x(10f64.powf(scale.first + 0.5))) / 2.0;
            let _ = writeln!(
                svg,
                r##"<path d="M{:.1} {:.1}l4 -10m4 0l-4 10" stroke="#333" fill="none"/>"##,
                at - 4.0,
                base + 5.0
            );
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let _ = writeln!(
            svg,
            r#"<text x="{middle}" y="{}" text-anchor="middle">{}</text>"#,
            HEIGHT - 14.0,
            escaped(self.x)
        );
    }

    fn draw_bound(&self, svg: &mut String, scale: &Scale) {
        let Some((value, says)) = &self.bound else { return };
        let y = scale.y(*value);
        let (right, above) = (WIDTH - RIGHT, y - 5.0);
        let _ = writeln!(
            svg,
            r##"<path d="M{LEFT} {y:.1}H{right}" stroke="#777" stroke-dasharray="5 4"/><text x="{right}" y="{above:.1}" text-anchor="end" fill="#666">{}</text>"##,
            escaped(says),
        );
    }
}

fn draw_series(svg: &mut String, scale: &Scale, index: usize, series: &Series) {
    let colour = COLOURS[index % COLOURS.len()];
    let places: Vec<(f64, f64)> = series.points.iter().map(|(x, y)| (scale.x(*x), scale.y(*y))).collect();
    let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        svg,
        r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
        line.join(" ")
    );
    places.iter().for_each(|place| marker(svg, index, *place));
    let legend = (LEFT + 12.0, TOP + 8.0 + 17.0 * index as f64);
    marker(svg, index, legend);
    let _ = writeln!(
        svg,
        r#"<text x="{}" y="{}">{}</text>"#,
        legend.0 + 10.0,
        legend.1 + 4.0,
        escaped(&series.name)
    );
}

fn marker(svg: &mut String, index: usize, (x, y): (f64, f64)) {
    let colour = COLOURS[index % COLOURS.len()];
    let _ = match index % COLOURS.len() {
        0 => writeln!(svg, r#"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{colour}"/>"#),
        _ => writeln!(
            svg,
            r#"<rect x="{:.1}" y="{:.1}" width="8" height="8" fill="{colour}"/>"#,
            x - 4.0,
            y - 4.0
        ),
    };
}

/// 1, 2 or 5 times a power of ten, not less than `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].map(|digit| digit * power).into_iter().find(|step| *step >= least).unwrap_or(10.0 * power)
}

/// `100,000`.
pub fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
