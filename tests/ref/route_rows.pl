#!/usr/bin/perl
# Rows for one router of a Mixtral, and what it decides on them by the plain formula in double precision:
#   route_rows.pl MODEL.safetensors TENSOR OUT.safetensors
# writes two tensors of rows and prints: tensor, row, expert, weight of the two best of softmax, over their sum.
use strict;
use warnings;
use JSON::PP;

sub slurp { my ($path) = @_; local $/; open my $f, '<:raw', $path or die "$path: $!"; my $all = <$f>; return $all }

my ($model, $tensor, $out) = @ARGV;
my $bytes = slurp($model);
my $n = unpack 'Q<', $bytes;
my $head = decode_json(substr $bytes, 8, $n);
my $info = $head->{$tensor} or die "no $tensor\n";
die "$tensor: expected F32\n" unless $info->{dtype} eq 'F32';
my ($experts, $hidden) = @{ $info->{shape} };
my @w = unpack 'f<*', substr $bytes, 8 + $n + $info->{data_offsets}[0], 4 * $experts * $hidden;

my $state = 12345;
sub uniform { $state = ($state * 1103515245 + 12345) % 2147483648; return $state / 2147483648 - 0.5 }

my (%made, $data);
my $at = 0;
$data = '';
for my $name ('first', 'second') {
	my $rows = $name eq 'first' ? 5 : 11;
	my @x = map { 8 * uniform() } 1 .. $rows * $hidden;
	@x = unpack 'f<*', pack 'f<*', @x;
	$data .= pack 'f<*', @x;
	$made{$name} = { dtype => 'F32', shape => [ $rows, $hidden ],
		data_offsets => [ $at, $at + 4 * $rows * $hidden ] };
	$at += 4 * $rows * $hidden;
	for my $r (0 .. $rows - 1) {
		my @logit = map { my $e = $_; my $sum = 0;
			$sum += $w[$e * $hidden + $_] * $x[$r * $hidden + $_] for 0 .. $hidden - 1; $sum } 0 .. $experts - 1;
		my @best = (sort { $logit[$b] <=> $logit[$a] || $a <=> $b } 0 .. $experts - 1)[ 0, 1 ];
		my $second = 1 / (1 + exp($logit[$best[0]] - $logit[$best[1]]));
		printf "%s\t%d\t%d\t%.6f\n", $name, $r, $best[0], 1 - $second;
		printf "%s\t%d\t%d\t%.6f\n", $name, $r, $best[1], $second;
	}
}
my $json = JSON::PP->new->canonical->encode(\%made);
$json .= ' ' while length($json) % 8;
open my $f, '>:raw', $out or die "$out: $!";
print $f pack('Q<', length $json), $json, $data or die;
close $f or die;
