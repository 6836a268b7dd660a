package org.harexport.demo.ui

import androidx.activity.compose.BackHandler
import androidx.annotation.DrawableRes
import androidx.annotation.StringRes
import androidx.compose.foundation.layout.Box
import androidx.compose.foundation.layout.BoxWithConstraints
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.consumeWindowInsets
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.layout.safeDrawing
import androidx.compose.foundation.layout.WindowInsets
import androidx.compose.foundation.rememberScrollState
import androidx.compose.foundation.text.TextAutoSize
import androidx.compose.foundation.verticalScroll
import androidx.compose.material3.Icon
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.NavigationBar
import androidx.compose.material3.NavigationBarItem
import androidx.compose.material3.NavigationRail
import androidx.compose.material3.NavigationRailItem
import androidx.compose.material3.Scaffold
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableStateOf
import androidx.compose.runtime.saveable.rememberSaveable
import androidx.compose.runtime.setValue
import androidx.compose.ui.Modifier
import androidx.compose.ui.graphics.Color
import androidx.compose.ui.platform.LocalContext
import androidx.compose.ui.res.painterResource
import androidx.compose.ui.res.stringResource
import androidx.compose.ui.text.style.TextOverflow
import androidx.compose.ui.unit.sp
import androidx.lifecycle.compose.collectAsStateWithLifecycle
import androidx.lifecycle.viewmodel.compose.viewModel
import org.harexport.demo.LiveViewModel
import org.harexport.demo.R
import org.harexport.demo.RecordViewModel
import org.harexport.demo.demo

/** The screens of the navigation bar. */
enum class Tab(@StringRes val title: Int, @DrawableRes val icon: Int) {
    LIVE(R.string.tab_live, R.drawable.ic_tab_live),
    RECORD(R.string.tab_record, R.drawable.ic_tab_record),
    SELF_TEST(R.string.tab_selftest, R.drawable.ic_tab_selftest),
    ABOUT(R.string.tab_about, R.drawable.ic_tab_about),
}

/** The app: a bar at the bottom, or a rail at the side if the window is wider than high. */
@Composable
fun MainScreen() {
    var tab by rememberSaveable { mutableStateOf(Tab.LIVE) }
    val demo = LocalContext.current.demo
    val recording by demo.recording.state.collectAsStateWithLifecycle()
    // Back leads to Live from every other screen, and out of the app from there.
    BackHandler(tab != Tab.LIVE) { tab = Tab.LIVE }
    BoxWithConstraints(Modifier.fillMaxSize()) {
        val isWide = maxWidth > maxHeight
        Scaffold(
            contentWindowInsets = WindowInsets.safeDrawing,
            bottomBar = {
                if (!isWide) {
                    NavigationBar {
                        for (item in Tab.entries) {
                            NavigationBarItem(tab == item, { tab = item }, { TabIcon(item, recording.isActive) }, label = { TabTitle(item, recording.isActive) })
                        }
                    }
                }
            },
        ) { padding ->
            Row(Modifier.padding(padding).consumeWindowInsets(padding)) {
                if (isWide) {
                    NavigationRail(Modifier.verticalScroll(rememberScrollState()), windowInsets = WindowInsets(0)) {
                        for (item in Tab.entries) {
                            NavigationRailItem(tab == item, { tab = item }, { TabIcon(item, recording.isActive) }, label = { TabTitle(item, recording.isActive) })
                        }
                    }
                }
                Box(Modifier.weight(1f)) {
                    when (tab) {
                        Tab.LIVE -> LiveScreen(viewModel { LiveViewModel(demo) })
                        Tab.RECORD -> RecordScreen(viewModel { RecordViewModel(demo) })
                        Tab.SELF_TEST -> SelfTestScreen()
                        Tab.ABOUT -> AboutScreen()
                    }
                }
            }
        }
    }
}

@Composable
private fun TabIcon(tab: Tab, isRecording: Boolean) {
    val tint = if (tab == Tab.RECORD && isRecording) MaterialTheme.colorScheme.error else Color.Unspecified
    if (tint == Color.Unspecified) Icon(painterResource(tab.icon), null) else Icon(painterResource(tab.icon), null, tint = tint)
}

@Composable
private fun TabTitle(tab: Tab, isRecording: Boolean) {
    val title = if (tab == Tab.RECORD && isRecording) R.string.tab_recording else tab.title
    Text(stringResource(title), autoSize = TextAutoSize.StepBased(minFontSize = 6.sp, maxFontSize = 12.sp), maxLines = 1, overflow = TextOverflow.Ellipsis)
}
