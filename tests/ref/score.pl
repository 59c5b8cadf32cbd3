#!/usr/bin/perl
# Scores computed again from the tensors that moe-run --logits FILE --mtp writes, apart from the programs: for ids in
# lines, all but the first of a line scored, the sums of log-probabilities of the model's own head and of the MTP head,
# and how often the likeliest token of both is the same. Core modules only.
#
# usage: score.pl LOGITS IDS     prints: tokens logprob mtp_tokens mtp_logprob mtp_agree
use strict;
use warnings;
use JSON::PP;
use List::Util qw(max);

die "usage: score.pl LOGITS IDS\n" if @ARGV != 2;
open my $file, '<:raw', $ARGV[0] or die "$ARGV[0]: $!\n";
my $data = do { local $/; <$file> };
my $n_header = unpack 'Q<', $data;
my $header = decode_json(substr $data, 8, $n_header);
open my $ids, '<', $ARGV[1] or die "$ARGV[1]: $!\n";
my @lines = map { [split] } <$ids>;

# Row r of a tensor as numbers.
sub row
{
	my ($name, $r) = @_;
	my $t = $header->{$name} or die "no tensor $name\n";
	my ($n_rows, $n) = @{ $t->{shape} };
	die "$name: no row $r\n" if $r >= $n_rows;
	return unpack 'f<*', substr $data, 8 + $n_header + $t->{data_offsets}[0] + 4 * $n * $r, 4 * $n;
}

sub log_prob
{
	my ($id, @x) = @_;
	my ($m, $sum) = (max(@x), 0);
	$sum += exp($_ - $m) for @x;
	return $x[$id] - $m - log $sum;
}

sub likeliest
{
	my $m = max(@_);
	$_[$_] == $m and return $_ for 0 .. $#_;
}

my ($n, $logprob, $n_mtp, $mtp_logprob, $n_agree) = (0) x 5;
for my $seq (0 .. $#lines) {
	my @t = @{ $lines[$seq] };
	for my $pos (1 .. $#t) {
		my @own = row("logits.$seq", $pos - 1);
		$n++;
		$logprob += log_prob($t[$pos], @own);
		next if $pos < 2;
		# The MTP head at i has token i + 1 and speaks of i + 2.
		my @mtp = row("mtp_logits.$seq", $pos - 2);
		$n_mtp++;
		$mtp_logprob += log_prob($t[$pos], @mtp);
		$n_agree += likeliest(@own) == likeliest(@mtp);
	}
}
printf "%d\t%.6f\t%d\t%.6f\t%.6f\n", $n, $logprob, $n_mtp, $mtp_logprob, $n_mtp ? $n_agree / $n_mtp : 'nan';
