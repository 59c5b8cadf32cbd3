# The 95 % interval of a ratio of sums over sequences, by drawing how often each of them counts, without any of our code.
#
#	sequence TAB number TAB number, a row each | perl bootstrap.pl [SEED]      low TAB high, 9 decimals
#
# In each of 200 resamples a sequence counts as often as a Poisson variable of mean 1, which follows from seed, resample,
# part (0) and sequence by SplitMix64's finaliser. Percentiles 2.5 and 97.5, interpolated, less
# twice the mean of the resamples over the ratio itself.
use strict;
use warnings;
no warnings 'portable';

# Sums and products modulo 2^64.
sub total { use integer; return $_[0] + $_[1] }
sub product { use integer; return $_[0] * $_[1] }

sub mix {
	my $x = total($_[0], 0x9E3779B97F4A7C15) & ~0;
	$x = product($x ^ $x >> 30, 0xBF58476D1CE4E5B9) & ~0;
	$x = product($x ^ $x >> 27, 0x94D049BB133111EB) & ~0;
	return $x ^ $x >> 31;
}

sub draw {
	my ($seed, $stream, $counter) = @_;
	return mix(mix(mix($seed) ^ $stream) ^ $counter);
}

sub poisson {
	my $u = ($_[0] >> 11) / 2**53;
	my ($n, $mass) = (0, exp(-1));
	my $sum = $mass;
	while ($u >= $sum && $n < 20) {
		$mass /= ++$n;
		$sum += $mass;
	}
	return $n;
}

my $seed = shift // 0;
my @rows = map { chomp; [split /\t/] } <STDIN>;
my @ratios;
for my $i (0 .. 199) {
	my $stream = draw($seed, $i, 0);
	my ($above, $below) = (0, 0);
	for (@rows) {
		my $n = poisson(draw($seed, $stream, $_->[0]));
		$above += $n * $_->[1];
		$below += $n * $_->[2];
	}
	push @ratios, $above / $below if $below > 0;
}
my ($above, $below, $sum) = (0, 0, 0);
$above += $_->[1], $below += $_->[2] for @rows;
$sum += $_ - $above / $below for @ratios;
my $bias = $sum / @ratios;
@ratios = sort { $a <=> $b } @ratios;
printf "%.9f\t%.9f\n", map {
	my $at = $_ * (@ratios - 1);
	my $i = int $at;
	$ratios[$i] + ($at - $i) * (($ratios[$i + 1] // $ratios[$i]) - $ratios[$i]) - 2 * $bias
} 0.025, 0.975;
