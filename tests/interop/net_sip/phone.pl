#!/usr/bin/perl
# A phone made of Net::SIP, steered as the other actors are: a line of JSON is a command, or an event.
# It plays a file of mu-law for ever, and writes what it hears into one file a call.
use strict;
use warnings;
use IO::Handle;
use JSON::PP;
use Net::SIP;
use Net::SIP::Dispatcher::Eventloop;
use Time::HiRes 'time';

my ($tone, $sounds, $port) = @ARGV;
my $loop = Net::SIP::Dispatcher::Eventloop->new;
my ($ua, $server, %calls);
my $number = 0;
$| = 1;

sub emit {
    my ($event, %fields) = @_;
    print encode_json({event => $event, at => time(), %fields}), "\n";
}

# What every call has: sound, and a word at its end.
sub parameters {
    my ($call) = @_;
    open(my $heard, '>', "$sounds/$call.ul") or die $!;
    $heard->autoflush(1);
    my $listen = sub { print $heard $_[0] };
    return (
        init_media => $ua->rtp('media_send_recv', $tone, -1, $listen),
        recv_bye   => sub { delete $calls{$call}; emit('ended', call => $call, status => 200) },
    );
}

sub final {
    my ($call) = @_;
    return sub {
        my ($status, undef, %told) = @_;
        return emit('established', call => $call) if $status eq 'OK';
        delete $calls{$call};
        emit('ended', call => $call, status => ($told{code} || 0) + 0);
    };
}

my %commands = (
    register => sub {
        my ($told) = @_;
        $server = $told->{server};
        $ua = Net::SIP::Simple->new(
            loop      => $loop,
            leg       => {proto => $told->{transport}, addr => '127.0.0.1', port => $port},
            registrar => $server,
            outgoing_proxy => $server,
            from      => "<sip:$told->{login}\@$server>",
            contact   => "sip:$told->{login}\@127.0.0.1:$port",
            auth      => [$told->{login}, $told->{password}],
        );
        $ua->listen(
            cb_create => sub {
                my ($call) = @_;
                $calls{++$number} = $call;
                $call->set_param(parameters($number));
                my $mine = $number;
                $call->set_param(cb_established => sub { emit('established', call => $mine) });
                emit('incoming', call => $mine);
                return 1;
            },
        );
        $ua->register(
            expires  => 300,
            cb_final => sub {
                my ($status, %told) = @_;
                emit('registration', status => $status eq 'OK' ? 200 : ($told{code} || 408) + 0);
            },
        );
        return {};
    },
    behave => sub { return {} },
    call   => sub {
        my ($told) = @_;
        my $mine = ++$number;
        (my $user = $told->{to}) =~ s/([^A-Za-z0-9+])/sprintf('%%%02X', ord $1)/ge;
        $calls{$mine} = $ua->invite("sip:$user\@$server", parameters($mine), cb_final => final($mine));
        return {call => $mine};
    },
    hold => sub {
        my ($told) = @_;
        $calls{$told->{call}}->reinvite(call_on_hold => 1, cb_final => sub { });
        return {};
    },
    resume => sub {
        my ($told) = @_;
        my $call = $calls{$told->{call}};
        $call->reinvite(sdp => $call->get_param('_sdp_saved'), cb_final => sub { });
        return {};
    },
    hangup => sub {
        my ($told) = @_;
        $calls{$told->{call}}->bye;
        return {};
    },
    recording => sub {
        my ($told) = @_;
        return {file => "$sounds/$told->{call}.ul"};
    },
);

my $pending = '';

sub obey {
    sysread(STDIN, $pending, 65536, length($pending)) or exit 0;
    while ($pending =~ s/^(.*)\n//) {
        my $told = decode_json($1);
        if ($told->{command} eq 'quit') {
            emit('done', id => $told->{id});
            exit 0;
        }
        my $answer = eval { $commands{$told->{command}}->($told) };
        $answer ? emit('done', id => $told->{id}, %$answer) : emit('failed', id => $told->{id}, error => "$@");
    }
}

$loop->addFD(\*STDIN, EV_READ, [\&obey], 'commands');
$loop->loop;
