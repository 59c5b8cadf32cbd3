#!/usr/bin/perl
# A second writer of traces, written from moe-trace(5) alone: the F32 tensor `logits` [tokens, experts] of a safetensors
# file becomes an unpacked trace (to be piped through gzip) of one layer, or, with -m, of two, the second with the
# experts in reverse order. -k K choices of a token, -s N sequences of equally many tokens. Choices are 0..K-1, no gates:
# moe-route makes others. With -b: the tensor `bias` as a table instead. Core modules only.
use strict;
use warnings;
use Getopt::Std;
use JSON::PP;

my %o = (k => 1, s => 1);
getopts('mbk:s:', \%o) && @ARGV == 1 or die "usage: write_trace.pl [-m] [-b] [-k K] [-s N] FILE\n";
open my $file, '<:raw', $ARGV[0] or die "$ARGV[0]: $!\n";
my $all = do { local $/; <$file> };
my $n_header = unpack 'Q<', $all;
my $tensors = decode_json(substr $all, 8, $n_header);

sub bytes_of {
	my ($from, $to) = @{$_[0]{data_offsets}};
	return substr $all, 8 + $n_header + $from, $to - $from;
}

if ($o{b}) {
	my @bias = unpack 'f<*', bytes_of($tensors->{bias});
	print "layer\texpert\tbias\n", map { sprintf "0\t%d\t%.9g\n", $_, $bias[$_] } 0 .. $#bias;
	exit;
}

my ($n, $e) = @{$tensors->{logits}{shape}};
my @rows = unpack "(a" . 4 * $e . ")$n", bytes_of($tensors->{logits});
my $bits = 1;
$bits++ while 1 << $bits < $e;
my $layers = $o{m} ? '[0,1]' : '[0]';
my $header = qq({"layers":$layers,"n_experts":$e,"top_k":$o{k},"id_bits":$bits,"gates":"none","logits":true});
my $each = $n / $o{s};
# Numbers of $bits bits, the least significant bit first.
my $ids = pack 'b*', join '', map { substr unpack('b*', pack 'V', $_), 0, $bits } (0 .. $o{k} - 1) x $each;

binmode STDOUT;
sub record { print $_[0], pack('V', length $_[1]), $_[1] }
print 'MOETRACE', pack('VV', 1, length $header), $header;
record('S', pack('V', 0) . 'golden');
for my $seq (0 .. $o{s} - 1) {
	my @of_seq = @rows[$seq * $each .. ($seq + 1) * $each - 1];
	my $run = pack('Q<Q<VVC', $seq, 0, 0, $each, 0) . pack('l<*', (-1) x $each) . $ids . join '', @of_seq;
	$run .= $ids . join '', map { pack 'V*', reverse unpack 'V*', $_ } @of_seq if $o{m};
	record('R', $run);
}
record('E', pack 'Q<Q<', $o{s}, $n);
