#!/usr/bin/perl
# A second reader of traces, written from moe-trace(5) alone: prints what `moe-route --print` prints (with -m:
# --margin). Core modules only. Dies with a sentence where the page is not met.
use strict;
use warnings;
use Compress::Raw::Zlib;
use JSON::PP;

my $margin = @ARGV && $ARGV[0] eq '-m' ? shift @ARGV : 0;
die "usage: read_trace.pl [-m] TRACE\n" if @ARGV != 1;
my $path = $ARGV[0];
open my $file, '<:raw', $path or die "$path: $!\n";
my $packed = do { local $/; <$file> };
die "$path: empty\n" if !length $packed;

# The stream: all members joined.
my ($stream, $at, $last_is_block) = ('', 0, 0);
while ($at < length $packed) {
	die "$path: no gzip member at byte $at\n"
		if length($packed) - $at < 18 || substr($packed, $at, 3) ne "\x1f\x8b\x08";
	my $size = block_size($at);
	my $data;
	if ($size) {
		die "$path: block at $at is cut\n" if $at + $size > length $packed;
		my $n_head = 12 + unpack 'v', substr $packed, $at + 10, 2;
		my $deflate = substr $packed, $at + $n_head, $size - $n_head - 8;
		my ($crc, $n) = unpack 'VV', substr $packed, $at + $size - 8, 8;
		my ($z, $status) = Compress::Raw::Zlib::Inflate->new(-WindowBits => -15);
		$status = $z->inflate($deflate, $data);
		die "$path: block at $at is damaged\n"
			if $status != Z_STREAM_END || length $deflate || length $data != $n || crc32($data) != $crc;
		$last_is_block = $n > 0;
	} else {
		my $rest = substr $packed, $at;
		my ($z, $status) = Compress::Raw::Zlib::Inflate->new(-WindowBits => WANT_GZIP);
		$status = $z->inflate($rest, $data);
		die "$path: member at $at is damaged\n" if $status != Z_STREAM_END;
		$size = length($packed) - $at - length $rest;
		$last_is_block = 0;
	}
	$stream .= $data;
	$at += $size;
}
die "$path: the empty block at the end is missing\n" if $last_is_block;

print join("\t", qw(source seq pos token layer choice expert weight), $margin ? 'margin' : ()), "\n";
$at = 0;
my $first;
while (!$first || $at < length $stream) {
	my $header = read_start();
	if ($first) {
		for my $key (qw(n_experts top_k)) {
			die "$path: parts differ in $key\n" if $header->{$key} != $first->{$key};
		}
		die "$path: parts differ in layers\n" if "@{$header->{layers}}" ne "@{$first->{layers}}";
	}
	$first //= $header;
	read_part($header);
}

# The size of the block at an offset; 0 for a member of plain gzip.
sub block_size
{
	my ($from) = @_;
	my ($flags, $n_extra) = (ord substr($packed, $from + 3, 1), unpack 'v', substr $packed, $from + 10, 2);
	return 0 if $flags != 4;
	my $extra = substr $packed, $from + 12, $n_extra;
	while (length $extra >= 4) {
		my ($id, $n) = unpack 'a2v', $extra;
		return 1 + unpack 'v', substr $extra, 4, 2 if $id eq 'BC' && $n == 2;
		$extra = length $extra > 4 + $n ? substr $extra, 4 + $n : '';
	}
	return 0;
}

sub take
{
	my ($n) = @_;
	die "$path: the stream ends at byte ", length $stream, " where $n bytes were expected at $at\n"
		if $at + $n > length $stream;
	$at += $n;
	return substr $stream, $at - $n, $n;
}

sub read_start
{
	my ($magic, $version, $n) = unpack 'a8VV', take(16);
	die "$path: not a trace\n" if $magic ne 'MOETRACE';
	die "$path: version $version\n" if $version != 1 && $version != 2;
	my $header = decode_json(take($n));
	$header->{version_of_format} = $version;
	return $header;
}

sub read_part
{
	my ($h) = @_;
	my ($n_runs, $n_tokens, @sources) = (0, 0);
	for (;;) {
		my ($type, $n) = unpack 'aV', take(5);
		my $payload = take($n);
		if ($type eq 'S') {
			my ($number, $label) = unpack 'Va*', $payload;
			die "$path: source $number out of order\n" if $number != @sources;
			push @sources, escape($label);
		} elsif ($type eq 'R') {
			my ($runs, $tokens) = $h->{version_of_format} == 1 ? (1, read_run($h, \@sources, $payload))
				: read_planes($h, \@sources, $payload);
			$n_runs += $runs;
			$n_tokens += $tokens;
		} elsif ($type eq 'E') {
			my ($runs, $tokens) = unpack 'Q<Q<', $payload;
			die "$path: the part states $runs runs, $tokens tokens\n"
				if $runs != $n_runs || $tokens != $n_tokens;
			return;
		} elsif ($type !~ /[a-z]/) {
			die "$path: record of unknown type '$type'\n";
		}
	}
}

sub read_run
{
	my ($h, $sources, $payload) = @_;
	my ($seq, $pos, $source, $n, $flags) = unpack 'Q<Q<VVC', $payload;
	my $from = 25;
	my $next = sub {
		my ($n_bytes) = @_;
		die "$path: a run is too short\n" if $from + $n_bytes > length $payload;
		$from += $n_bytes;
		return substr $payload, $from - $n_bytes, $n_bytes;
	};
	die "$path: flags $flags\n" if $flags > 1;
	die "$path: unknown source $source\n" if $source >= @$sources;
	my @tokens = unpack 'l<*', $next->(4 * $n);
	my ($k, $e) = @$h{qw(top_k n_experts)};
	my $n_bits = $flags ? bits_of($e) : $h->{id_bits};
	my @rows;   # of a token: its lines without the fields that all layers share
	for my $layer (@{$h->{layers}}) {
		my $ids = unpack 'b*', $next->(int(($n * $k * $n_bits + 7) / 8));
		my @gates = read_gates($h, $n, $next);
		$next->(4 * $n * $e) if $h->{logits};
		my @margins = $h->{margins} ? unpack 'f<*', $next->(4 * $n) : ();
		for my $t (0 .. $n - 1) {
			my $tail = !$margin ? '' : "\t" . (@margins ? number($margins[$t]) : '');
			for my $choice (0 .. $k - 1) {
				my $i = $t * $k + $choice;
				my $id = oct '0b' . reverse substr $ids, $i * $n_bits, $n_bits;
				next if $flags && $id == $e;
				die "$path: layer $layer: expert $id of $e\n" if $id >= $e;
				my $gate = @gates ? number($gates[$i]) : '';
				push @{$rows[$t]}, join("\t", $layer, $choice, $id, $gate) . $tail;
			}
		}
	}
	die "$path: a run is too long\n" if $from != length $payload;
	for my $t (0 .. $n - 1) {
		print join("\t", $sources->[$source], $seq, $pos + $t, $tokens[$t], $_), "\n" for @{$rows[$t] // []};
	}
	return $n;
}

# A record of version 2: how many runs and tokens it had.
sub read_planes
{
	my ($h, $sources, $payload) = @_;
	my ($n_segments, $n, $flags) = unpack 'VVC', $payload;
	my ($k, $e, $n_layers) = (@$h{qw(top_k n_experts)}, scalar @{$h->{layers}});
	my $from = 9;
	my $next = sub {
		my ($n_bytes) = @_;
		die "$path: a run is too short\n" if $from + $n_bytes > length $payload;
		$from += $n_bytes;
		return substr $payload, $from - $n_bytes, $n_bytes;
	};
	# Numbers of so many bytes, the most significant bytes of all of them first.
	my $planes = sub {
		my ($n_numbers, $n_bytes) = @_;
		my @numbers = (0) x $n_numbers;
		for (1 .. $n_bytes) {
			my @plane = unpack 'C*', $next->($n_numbers);
			$numbers[$_] = $numbers[$_] * 256 + $plane[$_] for 0 .. $#plane;
		}
		return @numbers;
	};
	my $floats = sub { return map { unpack 'f<', pack 'V', $_ } $planes->($_[0], 4) };
	die "$path: flags $flags\n" if $flags > ($h->{gates} eq 'f32' ? 3 : 1);
	my @segments = map { [unpack 'Q<Q<VV', $next->(24)] } 1 .. $n_segments;
	my @tokens = map { unpack 'l', pack 'L', $_ } $planes->($n, 4);
	my $wide = $flags & 1;
	my @ids = $planes->($n_layers * $n * $k, int((bits_of($wide || $e == 1 ? $e : $e - 1) + 7) / 8));
	my $n_choices = @ids;
	my @gates;
	if ($h->{gates} eq 'f32') {
		@gates = $flags & 2 ? unpack('f<*', $next->(4 * $n_choices)) : $floats->($n_choices);
	} elsif ($h->{gates} ne 'none') {
		my $eight = $h->{gates} eq '8bit';
		die "$path: gates of type $h->{gates}\n" if !$eight && $h->{gates} ne 'f16';
		my @units = $eight ? map { half($_) } $planes->($n_layers * $n, 2) : ();
		my @columns = $planes->($n_choices, $eight ? 1 : 2);
		for my $row (0 .. $n_layers * $n - 1) {
			my $code;
			for my $c (0 .. $k - 1) {
				my $at = $columns[$c * $n_layers * $n + $row];
				$code = $c ? ($code - $at) % ($eight ? 256 : 65536) : $at;
				$gates[$row * $k + $c] = $eight ? f32(f32($code / 255) * $units[$row]) : half($code);
			}
		}
	}
	$next->(4 * $n_layers * $n * $e) if $h->{logits};
	my @margins = $h->{margins} ? $floats->($n_layers * $n) : ();
	die "$path: a run is too long\n" if $from != length $payload;
	my $t = 0;
	for my $segment (@segments) {
		my ($seq, $pos, $source, $n_here) = @$segment;
		die "$path: unknown source $source\n" if $source >= @$sources;
		for my $i (0 .. $n_here - 1) {
			for my $l (0 .. $n_layers - 1) {
				my $row = $l * $n + $t;
				my $tail = !$margin ? '' : "\t" . (@margins ? number($margins[$row]) : '');
				for my $c (0 .. $k - 1) {
					my $id = $ids[$row * $k + $c];
					next if $wide && $id == $e;
					die "$path: layer $h->{layers}[$l]: expert $id of $e\n" if $id >= $e;
					my $gate = @gates ? number($gates[$row * $k + $c]) : '';
					print join("\t", $sources->[$source], $seq, $pos + $i, $tokens[$t],
						$h->{layers}[$l], $c, $id, $gate), $tail, "\n";
				}
			}
			$t++;
		}
	}
	die "$path: $t tokens in segments, $n in the record\n" if $t != $n;
	return ($n_segments, $n);
}

# Weights of one layer; none where they are not kept.
sub read_gates
{
	my ($h, $n, $next) = @_;
	my $k = $h->{top_k};
	return unpack 'f<*', $next->(4 * $n * $k) if $h->{gates} eq 'f32';
	return map { half($_) } unpack 'v*', $next->(2 * $n * $k) if $h->{gates} eq 'f16';
	return () if $h->{gates} eq 'none';
	die "$path: gates of type $h->{gates}\n" if $h->{gates} ne '8bit';
	my @max = map { half($_) } unpack 'v*', $next->(2 * $n);
	my @codes = unpack 'C*', $next->($n * $k);
	return map { f32(f32($codes[$_] / 255) * $max[int $_ / $k]) } 0 .. $#codes;
}

# The least number of bits that can hold a number.
sub bits_of
{
	my ($number) = @_;
	return length sprintf '%b', $number;
}

sub half
{
	my ($bits) = @_;
	my ($sign, $exponent, $fraction) = ($bits & 0x8000 ? -1 : 1, $bits >> 10 & 31, $bits & 1023);
	return $sign * $fraction * 2 ** -24 if $exponent == 0;
	return $fraction ? 9 ** 9 ** 9 / 9 ** 9 ** 9 : $sign * 9 ** 9 ** 9 if $exponent == 31;
	return $sign * (1 + $fraction / 1024) * 2 ** ($exponent - 15);
}

sub f32
{
	return unpack 'f<', pack 'f<', $_[0];
}

# As printf's %.9g in C, which calls infinity inf.
sub number
{
	my $text = sprintf '%.9g', $_[0];
	return lc $text;
}

sub escape
{
	my ($text) = @_;
	my %as = ("\t" => '\t', "\n" => '\n', '\\' => '\\\\');
	$text =~ s/([\t\n\\])/$as{$1}/g;
	return $text;
}
